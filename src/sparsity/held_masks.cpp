#include "enmesh/sparsity/held_masks.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "enmesh/tensor/group_lines.hpp"

namespace enmesh {
namespace {

/// How many groups of M have how many non-zeros. Counting ends at a group of M: dense weights cost little.
using GroupCounts = std::array<int64_t, Pattern::max_m + 1>;

GroupCounts count_groups(const Shape& shape, GroupAxis axis, int m, std::span<const float> weights) {
    const GroupLines lines = group_lines(shape, axis);
    GroupCounts groups{};
    for (int64_t line = 0; line < lines.lines; ++line) {
        for (int64_t begin = 0; begin + m <= lines.length; begin += m) {
            size_t values = 0;
            for (int64_t i = begin; i < begin + m; ++i)
                values += weights[static_cast<size_t>(lines.offset(line, i))] != 0.0F ? 1 : 0;
            ++groups[values];
            if (values == static_cast<size_t>(m)) return groups;
        }
    }
    return groups;
}

/// The most non-zeros of any group.
int fullest(const GroupCounts& groups) {
    size_t values = groups.size() - 1;
    while (values > 0 && groups[values] == 0) --values;
    return static_cast<int>(values);
}

int fullest_group(const Shape& shape, GroupAxis axis, int m, std::span<const float> weights) {
    return fullest(count_groups(shape, axis, m, weights));
}

bool all_zero(std::span<const float> weights) {
    return std::all_of(weights.begin(), weights.end(), [](float weight) { return weight == 0.0F; });
}

struct WeightedLayer {
    std::string layer;
    ValueId weights;
};

std::vector<WeightedLayer> weighted_layers(const Graph& graph) {
    std::vector<WeightedLayer> layers;
    for (const Node& node : graph.nodes()) {
        if (!node.operation.is<Conv2d>() && !node.operation.is<Linear>()) continue;
        if (graph.value(node.inputs[1]).role == Role::parameter)
            layers.push_back({node.layer, node.inputs[1]});
    }
    return layers;
}

using Decisions = std::map<std::string, LayerDecision>;

Decisions decisions_of(const Graph& graph, const Recipe& recipe, Stage stage) {
    Decisions decisions;
    for (LayerDecision& decision : decide_layers(graph, recipe)) {
        if (decision.stage == stage) decisions.emplace(decision.layer, decision);
    }
    return decisions;
}

Decisions ff_decisions(const Graph& graph, Recipe recipe, std::vector<RecipeOverride> overrides) {
    recipe.overrides = std::move(overrides);
    return decisions_of(graph, recipe, Stage::FF);
}

bool is_among(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// What a layer's groups along input channels hold, for every M that divides them.
struct LayerGroups {
    std::map<int, int> fullest;  ///< the most non-zeros of any group of M, where that is below M
    double mask_density = 2;     ///< of the sparsest pattern that most groups fill; 2 if there is none

    bool holds(Pattern pattern) const {
        const auto found = fullest.find(pattern.m);
        return found != fullest.end() && found->second <= pattern.n && mask_density <= pattern.density();
    }
};

/// Pruning fills the groups that hold anything. Where few are full, as with zeros strewn at random, nobody
/// pruned to that pattern.
LayerGroups layer_groups(const Shape& shape, std::span<const float> weights) {
    LayerGroups layer;
    for (int m = 2; m <= std::min<int64_t>(Pattern::max_m, shape[1]); ++m) {
        if (shape[1] % m != 0) continue;
        const GroupCounts groups = count_groups(shape, GroupAxis::input_channels, m, weights);
        const int n = fullest(groups);
        if (n == 0 || n == m) continue;
        layer.fullest[m] = n;
        const int64_t not_empty = std::accumulate(groups.begin() + 1, groups.end(), int64_t{0});
        if (2 * groups[static_cast<size_t>(n)] >= not_empty)
            layer.mask_density = std::min(layer.mask_density, Pattern{n, m}.density());
    }
    return layer;
}

/// A zero input channel, or one that was added, makes 15:16 or 3:4 of a layer that nobody pruned.
constexpr double densest_mask = 0.5;

/// The pattern that a layer's weights keep, see keep_held_masks; nothing if they hold none.
std::optional<Pattern> own_pattern(const Tensor& weights, Pattern asked, HeldPattern which) {
    const Shape& shape = weights.shape();
    const auto holds = [&](GroupAxis axis, Pattern pattern) {
        return holds_pattern(shape, axis, pattern, weights.f32());
    };
    const LayerGroups groups = layer_groups(shape, weights.f32());
    std::optional<Pattern> best;
    if (groups.holds(asked)) best = asked;
    if (best.has_value() && which == HeldPattern::as_asked) return best;
    const bool serves_bp = best.has_value() && holds(GroupAxis::output_channels, asked);
    for (const auto& [m, n] : groups.fullest) {
        const Pattern sparser{n, m};
        if (sparser.density() > densest_mask || !groups.holds(sparser)) continue;
        if (best.has_value() && sparser.density() >= best->density()) continue;
        if (!serves_bp || holds(GroupAxis::output_channels, sparser)) best = sparser;
    }
    return best;
}

/// Whether every product that would be sparse in BP has kept masks that are N:M along output channels too.
bool both_ways(const Graph& graph, Recipe recipe, const std::vector<KeptLayer>& kept,
               const WeightSource& source) {
    recipe.bp_weight = WeightRule::frozen;
    const Decisions bp = decisions_of(graph, recipe, Stage::BP);
    bool any = false;
    for (const auto& [layer, id] : weighted_layers(graph)) {
        if (!bp.at(layer).sparse) continue;
        const Pattern pattern = bp.at(layer).pattern;
        if (std::find(kept.begin(), kept.end(), KeptLayer{layer, pattern}) == kept.end()) return false;
        const Tensor weights = source(graph.value(id));
        if (!holds_pattern(weights.shape(), GroupAxis::output_channels, pattern, weights.f32())) return false;
        any = true;
    }
    return any;
}

}  // namespace

bool holds_pattern(const Shape& shape, GroupAxis axis, Pattern pattern, std::span<const float> weights) {
    return fullest_group(shape, axis, pattern.m, weights) <= pattern.n && !all_zero(weights);
}

std::optional<Pattern> held_pattern(const Graph& graph, const WeightSource& source) {
    // Pattern (n, m) spares the elements of every layer that has at most n of every m.
    struct Layer {
        double elements = 0;
        LayerGroups groups;
    };
    std::vector<Layer> layers;
    for (const auto& [name, id] : weighted_layers(graph)) {
        const Tensor weights = source(graph.value(id));
        layers.push_back(
            {static_cast<double>(weights.elements()), layer_groups(weights.shape(), weights.f32())});
    }
    const auto spared = [&](Pattern pattern) {
        double sum = 0;
        for (const Layer& layer : layers) {
            if (layer.groups.holds(pattern)) sum += layer.elements * (pattern.m - pattern.n) / pattern.m;
        }
        return sum;
    };
    std::optional<Pattern> best;
    double most = 0;
    for (int m = 2; m <= Pattern::max_m; ++m) {
        for (int n = 1; n <= static_cast<int>(m * densest_mask); ++n) {
            // A larger M that spares no more is the same pattern in other words.
            if (const double sum = spared({n, m}); sum > most * (1 + 1e-9)) {
                most = sum;
                best = Pattern{n, m};
            }
        }
    }
    return best;
}

HeldMasks keep_held_masks(const Graph& graph, const Recipe& recipe, const WeightSource& source,
                          HeldPattern which) {
    const std::vector<WeightedLayer> layers = weighted_layers(graph);
    HeldMasks result{
        .recipe = recipe, .layers = static_cast<int>(layers.size()), .kept = {}, .differences = {}};
    if (recipe.ff_weight != WeightRule::frozen) return result;
    std::map<std::string, Pattern> held;
    std::map<Pattern, Decisions> possible;
    for (const auto& [layer, id] : layers) {
        const auto own = own_pattern(source(graph.value(id)), recipe.pattern, which);
        if (!own.has_value()) continue;
        if (!possible.contains(*own)) possible[*own] = ff_decisions(graph, recipe, {{"*", true, *own}});
        if (possible.at(*own).at(layer).sparse) held.emplace(layer, *own);
    }
    if (held.empty()) return result;

    const Decisions by_default = ff_decisions(graph, recipe, {});
    std::vector<RecipeOverride> overrides;
    for (const auto& [layer, id] : layers) {
        const LayerDecision& before = by_default.at(layer);
        const auto own = held.find(layer);
        const bool holds = own != held.end();
        const bool other = holds && own->second != recipe.pattern;
        if (before.sparse == holds && !other) continue;
        overrides.push_back({layer, holds, other ? own->second : Pattern{}});
        if (before.sparse != holds)
            result.differences.push_back({layer, holds, before.reason, holds ? own->second : recipe.pattern});
    }
    // The last match wins: what was asked for stands behind what the weights say.
    overrides.insert(overrides.end(), recipe.overrides.begin(), recipe.overrides.end());
    const Decisions decided = ff_decisions(graph, recipe, overrides);
    result.recipe.overrides = std::move(overrides);
    std::erase_if(result.differences, [&](const HeldDifference& difference) {
        return decided.at(difference.layer).sparse != difference.sparse;
    });
    for (const auto& [layer, id] : layers) {
        const auto own = held.find(layer);
        const LayerDecision& after = decided.at(layer);
        if (own != held.end() && after.sparse && after.pattern == own->second)
            result.kept.push_back({layer, own->second});
    }
    if (both_ways(graph, result.recipe, result.kept, source)) result.recipe.bp_weight = WeightRule::frozen;
    return result;
}

std::vector<std::string> weights_to_prune(const Graph& graph, const Recipe& recipe,
                                          const WeightSource& source) {
    std::vector<std::string> names;
    if (recipe.ff_weight == WeightRule::dense) return names;
    const Decisions decisions = decisions_of(graph, recipe, Stage::FF);
    for (const auto& [layer, id] : weighted_layers(graph)) {
        const Value& value = graph.value(id);
        if (!decisions.at(layer).sparse || is_among(names, value.name)) continue;
        const Tensor weights = source(value);
        const Pattern pattern = decisions.at(layer).pattern;
        const auto fits = [&](GroupAxis axis) {
            return fullest_group(weights.shape(), axis, pattern.m, weights.f32()) <= pattern.n;
        };
        const bool transposable = recipe.ff_weight == WeightRule::transposable;
        if (!fits(GroupAxis::input_channels) || (transposable && !fits(GroupAxis::output_channels)))
            names.push_back(value.name);
    }
    return names;
}

}  // namespace enmesh
