#include "enmesh/sparsity/recipe.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

constexpr double default_sr_decay = 2e-4;

struct MethodRow {
    std::string_view name;
    WeightRule ff_weight, bp_weight;
    GradientRule bp_gradient, wg_gradient;
    bool wg_masked;
    double sr_decay;
    int64_t mask_period;
};

using W = WeightRule;
using G = GradientRule;

constexpr std::array method_table = {
    MethodRow{"dense", W::dense, W::dense, G::dense, G::dense, false, 0, 1},
    MethodRow{"asp", W::frozen, W::ff_mask, G::dense, G::dense, true, 0, 1},
    MethodRow{"ste", W::magnitude, W::ff_mask, G::dense, G::dense, false, 0, 1},
    MethodRow{"sr-ste", W::magnitude, W::ff_mask, G::dense, G::dense, false, default_sr_decay, 1},
    MethodRow{"sdgp", W::dense, W::dense, G::magnitude, G::dense, false, 0, 1},
    MethodRow{"sdwp", W::dense, W::magnitude, G::dense, G::dense, false, 0, 1},
    MethodRow{"bdwp", W::magnitude, W::magnitude, G::dense, G::dense, false, 0, 1},
    MethodRow{"transposable", W::transposable, W::transposable, G::dense, G::dense, false, default_sr_decay,
              40},
    MethodRow{"mvue", W::dense, W::dense, G::dense, G::mvue, false, 0, 1},
};

std::string mask_period_text(const MethodRow& row) {
    if (row.ff_weight == W::frozen) return "once";
    if (row.ff_weight == W::dense && row.bp_weight == W::dense) return "-";
    return row.mask_period == 1 ? "update" : fmt::format("{} updates", row.mask_period);
}

void add_to_recipe(Recipe& recipe, std::string_view addition) {
    static const std::vector<std::string> known{"mvue", "sr"};
    if (addition == "mvue") {
        recipe.wg_gradient = GradientRule::mvue;
    } else if (addition == "sr") {
        if (recipe.ff_weight == WeightRule::dense)
            refuse("method '{}' prunes no FF weights, so +sr has nothing to decay", recipe.method);
        recipe.sr_decay = default_sr_decay;
    } else {
        refuse("unknown addition '+{}' to method '{}'{}", addition, recipe.method,
               suggestion(addition, known));
    }
}

/// One product layer of the forward graph: what decides whether it can be sparse.
struct ProductLayer {
    std::string layer;
    int64_t input_channels = 0, output_channels = 0;  // per group
    int64_t groups = 1;
    bool first = false, last = false, has_weights = true;
    bool channels_last = false;  // a linear layer on four axes: its out-grads would be taken for NKHW
};

bool is_forward_product(const Operation& op) { return op.is<Conv2d>() || op.is<Linear>() || op.is<MatMul>(); }

/// Whether a product lies between the value and the graph's inputs (upstream) for every value.
std::vector<bool> product_before(const Graph& graph) {
    std::vector<bool> before(graph.values().size(), false);
    for (const Node& node : graph.nodes()) {
        bool any = is_forward_product(node.operation);
        for (const ValueId input : node.inputs) any = any || before[static_cast<size_t>(input.index)];
        for (const ValueId output : node.outputs) before[static_cast<size_t>(output.index)] = any;
    }
    return before;
}

std::vector<bool> product_after(const Graph& graph) {
    std::vector<bool> after(graph.values().size(), false);
    for (size_t i = graph.nodes().size(); i-- > 0;) {
        const Node& node = graph.nodes()[i];
        bool any = is_forward_product(node.operation);
        for (const ValueId output : node.outputs) any = any || after[static_cast<size_t>(output.index)];
        for (const ValueId input : node.inputs) {
            if (any) after[static_cast<size_t>(input.index)] = true;
        }
    }
    return after;
}

std::vector<ProductLayer> product_layers(const Graph& graph) {
    const std::vector<bool> before = product_before(graph), after = product_after(graph);
    std::vector<ProductLayer> layers;
    for (const Node& node : graph.nodes()) {
        if (!is_forward_product(node.operation)) continue;
        ProductLayer layer{.layer = node.layer};
        layer.first = !before[static_cast<size_t>(node.inputs[0].index)];
        layer.last = !after[static_cast<size_t>(node.outputs[0].index)];
        layer.has_weights = graph.value(node.inputs[1]).role == Role::parameter;
        const Shape& weights = graph.type(node.inputs[1]).shape;
        if (const Conv2d* const conv = node.operation.as<Conv2d>()) layer.groups = conv->groups;
        layer.channels_last = node.operation.is<Linear>() && graph.type(node.inputs[0]).shape.rank() == 4;
        if (!node.operation.is<MatMul>()) {
            layer.input_channels = weights[1];
            layer.output_channels = weights[0] / layer.groups;
        }
        layers.push_back(std::move(layer));
    }
    return layers;
}

bool asks_for_sparsity(const Recipe& recipe, Stage stage) {
    switch (stage) {
        case Stage::FF:
            return recipe.ff_weight != WeightRule::dense;
        case Stage::BP:
            return recipe.bp_weight != WeightRule::dense || recipe.bp_gradient != GradientRule::dense;
        case Stage::WG:
            return recipe.wg_gradient != GradientRule::dense;
        case Stage::WU:
            return false;
    }
    return false;
}

/// Why the layer cannot hold the pattern in this product whatever is asked; empty if it can.
std::string impossible(const ProductLayer& layer, const Recipe& recipe, Stage stage) {
    if (!layer.has_weights) return "no weights (a product of two activations)";
    const bool transposable = recipe.ff_weight == WeightRule::transposable;
    const auto indivisible = [&](int64_t channels, std::string_view which) {
        return channels % recipe.pattern.m == 0 ? std::string()
                                                : fmt::format("{} {} channels are not a multiple of M = {}",
                                                              channels, which, recipe.pattern.m);
    };
    std::string reason;
    const bool packs_gradient =
        stage == Stage::WG || (stage == Stage::BP && recipe.bp_gradient != GradientRule::dense);
    if (packs_gradient && layer.channels_last) return "linear layer on four axes (reshape it to three)";
    if (layer.groups > 1 && layer.input_channels == 1) return "depthwise convolution";
    if (layer.groups > 1 && stage != Stage::FF) return "grouped convolution";
    if (stage == Stage::FF || (stage == Stage::BP && transposable))
        reason = indivisible(layer.input_channels, "input");
    // A frozen mask is chosen along input channels, whichever product takes it.
    if (stage == Stage::BP && recipe.bp_weight == WeightRule::frozen)
        reason = indivisible(layer.input_channels, "input");
    if (reason.empty() && (stage == Stage::BP || (stage == Stage::FF && transposable))) {
        reason = indivisible(layer.output_channels, "output");
    }
    return reason;
}

std::string default_reason(const ProductLayer& layer) {
    if (layer.first) return "first layer";
    if (layer.last) return "classifier";
    return "";
}

const RecipeOverride* matching_override(const Recipe& recipe, const std::string& layer) {
    const RecipeOverride* matched = nullptr;
    for (const RecipeOverride& candidate : recipe.overrides) {
        if (matches_name_pattern(candidate.layers, layer)) matched = &candidate;
    }
    return matched;
}

LayerDecision decide(const ProductLayer& layer, const Recipe& recipe, Stage stage,
                     const RecipeOverride* matched) {
    LayerDecision decision{layer.layer, stage, false, recipe.pattern, ""};
    // The first layer has no BP product: nobody needs the images' gradient.
    const bool has_product = !(layer.first && stage == Stage::BP);
    if (!asks_for_sparsity(recipe, stage) || !has_product) return decision;
    decision.reason = impossible(layer, recipe, stage);
    if (decision.reason.empty() && matched == nullptr) decision.reason = default_reason(layer);
    if (decision.reason.empty() && matched != nullptr && !matched->sparse) {
        decision.reason = fmt::format("asked for by '{}'", matched->layers);
    }
    if (decision.reason.empty() && stage == Stage::BP && recipe.bp_weight == WeightRule::ff_mask) {
        decision.reason = "FF's mask is chosen along input channels alone: runs as dense";
    }
    decision.sparse = decision.reason.empty();
    return decision;
}

std::vector<LayerDecision> decide_layer(const ProductLayer& layer, const Recipe& recipe) {
    const RecipeOverride* const matched = matching_override(recipe, layer.layer);
    Recipe own = recipe;
    if (matched != nullptr && matched->pattern.m != 0) own.pattern = matched->pattern;
    std::vector<LayerDecision> decisions;
    for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG})
        decisions.push_back(decide(layer, own, stage, matched));
    // An override names a layer exactly to insist; a pattern takes whatever of its matches is possible.
    const bool insisted = matched != nullptr && matched->sparse && matched->layers == layer.layer;
    if (recipe.dense() || !insisted) return decisions;
    std::string reason = "it has no BP product: nobody needs its diff_src";
    for (const LayerDecision& decision : decisions) {
        if (decision.sparse) return decisions;
        if (!decision.reason.empty()) reason = decision.reason;
    }
    refuse("layer '{}' cannot be {}: {}", layer.layer, to_string(own.pattern), reason);
}

}  // namespace

std::string to_string(WeightRule rule) {
    constexpr std::array names = {"dense", "magnitude", "frozen mask", "transposable mask", "FF's mask"};
    return names[static_cast<size_t>(rule)];
}

std::string to_string(GradientRule rule) {
    constexpr std::array names = {"dense", "magnitude", "MVUE"};
    return names[static_cast<size_t>(rule)];
}

std::vector<std::string> method_names() {
    std::vector<std::string> names;
    for (const MethodRow& row : method_table) names.emplace_back(row.name);
    return names;
}

Recipe make_recipe(std::string_view method, std::optional<Pattern> pattern) {
    const std::string_view base = method.substr(0, method.find('+'));
    const auto row = std::find_if(method_table.begin(), method_table.end(),
                                  [&](const MethodRow& r) { return r.name == base; });
    if (row == method_table.end()) refuse("unknown method '{}'{}", base, suggestion(base, method_names()));
    Recipe recipe{.method = std::string(method),
                  .pattern = {},
                  .ff_weight = row->ff_weight,
                  .bp_weight = row->bp_weight,
                  .bp_gradient = row->bp_gradient,
                  .wg_gradient = row->wg_gradient,
                  .wg_masked = row->wg_masked,
                  .sr_decay = row->sr_decay,
                  .mask_period = row->mask_period,
                  .overrides = {}};
    for (size_t plus = method.find('+'); plus != std::string_view::npos;) {
        const size_t next = method.find('+', plus + 1);
        add_to_recipe(recipe,
                      method.substr(plus + 1, next == std::string_view::npos ? next : next - plus - 1));
        plus = next;
    }
    const bool needs_pattern = asks_for_sparsity(recipe, Stage::FF) || asks_for_sparsity(recipe, Stage::BP) ||
                               asks_for_sparsity(recipe, Stage::WG);
    if (!needs_pattern) return recipe;
    if (!pattern.has_value()) refuse("method '{}' needs a pattern N:M, such as 2:8", method);
    check_pattern(*pattern);
    recipe.pattern = *pattern;
    return recipe;
}

std::string recipe_table() {
    std::string text =
        fmt::format("{:<14}{:<20}{:<20}{:<14}{:<14}{:<12}{:<10}{}\n", "method", "FF weight", "BP weight",
                    "BP out-grad", "WG out-grad", "WG result", "SR decay", "masks every");
    for (const MethodRow& row : method_table) {
        text +=
            fmt::format("{:<14}{:<20}{:<20}{:<14}{:<14}{:<12}{:<10}{}\n", row.name, to_string(row.ff_weight),
                        to_string(row.bp_weight), to_string(row.bp_gradient), to_string(row.wg_gradient),
                        row.wg_masked ? "FF's mask" : "dense", row.sr_decay, mask_period_text(row));
    }
    return text + "additions: +mvue (MVUE on WG's out-grad), +sr (SR decay 2e-4), e.g. bdwp+mvue\n";
}

bool matches_name_pattern(std::string_view pattern, std::string_view text) {
    size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] == text[t] && pattern[p] != '*'))) {
            ++p;
            ++t;
        } else if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

std::vector<LayerDecision> decide_layers(const Graph& graph, const Recipe& recipe) {
    const std::vector<ProductLayer> layers = product_layers(graph);
    for (const RecipeOverride& item : recipe.overrides) {
        const auto hit = [&](const ProductLayer& layer) {
            return matches_name_pattern(item.layers, layer.layer);
        };
        if (std::any_of(layers.begin(), layers.end(), hit)) continue;
        std::vector<std::string> names;
        for (const ProductLayer& layer : layers) names.push_back(layer.layer);
        refuse("'{}' matches no layer{}", item.layers, suggestion(item.layers, names));
    }
    std::vector<LayerDecision> decisions;
    for (const ProductLayer& layer : layers) {
        for (LayerDecision& decision : decide_layer(layer, recipe)) decisions.push_back(std::move(decision));
    }
    return decisions;
}

std::string patterns_text(const Recipe& recipe, std::span<const LayerDecision> decisions) {
    if (recipe.dense()) return "";
    std::vector<Pattern> patterns;
    for (const LayerDecision& decision : decisions) {
        if (!decision.sparse ||
            std::find(patterns.begin(), patterns.end(), decision.pattern) != patterns.end())
            continue;
        patterns.insert(decision.pattern == recipe.pattern ? patterns.begin() : patterns.end(),
                        decision.pattern);
    }
    if (patterns.empty()) patterns.push_back(recipe.pattern);
    std::string text;
    for (const Pattern& pattern : patterns) text += (text.empty() ? "" : "+") + to_string(pattern);
    return text;
}

}  // namespace enmesh
