#include <fnmatch.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "cli/files/prune_arguments.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/report/line_meter.hpp"

namespace enmesh::cli {
namespace {

/// As a shell matches it, or letter by letter but for * and ?: names of ONNX files may hold brackets.
bool matches_name(const std::string& pattern, const std::string& name) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0 || matches_name_pattern(pattern, name);
}

/// The names by which a user may call what a product computes with: its layer's and its weights'.
struct WeightNames {
    std::string layer, weights;
};

std::vector<WeightNames> weight_names(const Graph& graph) {
    std::vector<WeightNames> names;
    for (const Node& node : graph.nodes()) {
        if (!node.operation.is<Conv2d>() && !node.operation.is<Linear>()) continue;
        const Value& weights = graph.value(node.inputs[1]);
        if (weights.role == Role::parameter) names.push_back({node.layer, weights.name});
    }
    return names;
}

bool names_outright(const RecipeOverride& asked, const WeightNames& names) {
    return asked.layers == names.layer || asked.layers == names.weights;
}

/// The layers that can hold the override's pattern, or else the options', if they are asked to.
std::set<std::string> able_layers(const Graph& graph, const PruneOptions& options, Pattern pattern) {
    std::set<std::string> able;
    for (const LayerDecision& decision :
         decide_layers(graph, pruning_recipe(options, {{.layers = "*", .pattern = pattern}}))) {
        if (decision.stage == Stage::FF && decision.sparse) able.insert(decision.layer);
    }
    return able;
}

/// A layer that --sparse names outright, without * or ?, cannot be skipped; one that only matches can.
void require_no_conflict(const PruneArguments& arguments, const std::vector<RecipeOverride>& asked,
                         const std::vector<WeightNames>& names) {
    std::vector<char> used(arguments.skip.size());
    for (const WeightNames& each : names) {
        const std::string* skip = skipped_by(each.layer, arguments.skip, used);
        if (skip == nullptr) skip = skipped_by(each.weights, arguments.skip, used);
        for (const RecipeOverride& sparse : asked) {
            if (skip != nullptr && names_outright(sparse, each))
                refuse("--skip '{}' and --sparse '{}' are both for layer '{}'", *skip, sparse.layers,
                       each.layer);
        }
    }
}

/// Whether --skip leaves nothing over.
bool all_skipped(const PruneArguments& arguments, const std::vector<WeightNames>& names) {
    std::vector<char> used(arguments.skip.size());
    return !names.empty() && std::all_of(names.begin(), names.end(), [&](const WeightNames& each) {
        return skipped_by(each.layer, arguments.skip, used) != nullptr ||
               skipped_by(each.weights, arguments.skip, used) != nullptr;
    });
}

/// --skip and --sparse as the recipe's overrides, which name layers. A skip counts over a --sparse. Of what
/// matches a --sparse with * or ?, layers that cannot hold the pattern stay dense; one that is named outright
/// must.
std::vector<RecipeOverride> overrides_of(const PruneArguments& arguments, const Graph& graph) {
    const std::vector<WeightNames> names = weight_names(graph);
    std::vector<std::string> known;
    for (const WeightNames& each : names) known.insert(known.end(), {each.layer, each.weights});
    const auto matches = [](const std::string& pattern, const WeightNames& each) {
        return matches_name(pattern, each.layer) || matches_name(pattern, each.weights);
    };
    const auto require_match = [&](const char* option, const std::string& pattern) {
        if (std::none_of(names.begin(), names.end(),
                         [&](const auto& each) { return matches(pattern, each); }))
            refuse("{} '{}' matches no layer of {}{}", option, pattern, arguments.input,
                   suggestion(pattern, known));
    };
    std::vector<RecipeOverride> asked, overrides;
    for (const std::string& text : arguments.sparse) asked.push_back(sparse_override(text));
    for (const RecipeOverride& sparse : asked) {
        require_match("--sparse", sparse.layers);
        const std::set<std::string> able = able_layers(graph, prune_options(arguments), sparse.pattern);
        for (const WeightNames& each : names) {
            if (names_outright(sparse, each) || (matches(sparse.layers, each) && able.contains(each.layer)))
                overrides.push_back({each.layer, true, sparse.pattern});
        }
    }
    for (const std::string& skip : arguments.skip) {
        require_match("--skip", skip);
        for (const WeightNames& each : names) {
            if (matches(skip, each)) overrides.push_back({each.layer, false});
        }
    }
    require_no_conflict(arguments, asked, names);
    if (all_skipped(arguments, names))
        refuse("{}: --skip leaves nothing to prune: all {} layers are skipped", arguments.input,
               names.size());
    return overrides;
}

/// The plan of a network, and what is left to do with it: write( weights ) if this is no dry run.
template <typename Write>
PruneReport prune_network(const PruneArguments& arguments, const Graph& graph, const WeightSource& source,
                          const Write& write) {
    const std::vector<RecipeOverride> overrides = overrides_of(arguments, graph);
    report::LineMeter meter;
    PruneOptions options = prune_options(arguments);
    if (arguments.time_limit) options.time_limit_seconds = *arguments.time_limit;
    const auto show = [&](size_t index, size_t count, const std::string& name) {
        meter.show(fmt::format("{} of {}  {}", index + 1, count, name));
    };
    const NetworkPlan plan =
        naming(arguments.input, [&] { return plan_network(graph, source, options, overrides, show); });
    if (plan.layers.empty()) {
        refuse("{}: no layer can hold {}{}", arguments.input, to_string(options.pattern),
               plan.left_dense.empty()
                   ? std::string(" (there is no convolution or linear layer)")
                   : fmt::format(" ({}: {})", plan.left_dense[0].name, plan.left_dense[0].reason));
    }
    if (!arguments.dry_run) write(pruned_weights(plan, source), pruning_recipe(options, overrides));
    return {options, plan.layers, plan.left_dense, true, plan.groups, plan.channels.unpermuted};
}

}  // namespace

PruneOptions prune_options(const PruneArguments& arguments) {
    PruneOptions options;
    options.pattern = parse_pattern(arguments.pattern);
    options.permute = arguments.permute || arguments.permute_only;
    options.prune = !arguments.permute_only;
    options.transposable = arguments.transposable;
    if (arguments.seed < 0) refuse("--seed {}: must be 0 or more", arguments.seed);
    options.seed = static_cast<uint64_t>(arguments.seed);
    if (arguments.permute && arguments.permute_only)
        refuse("--permute prunes and --permute-only does not: give one of them");
    if (arguments.search == "stripes") {
        options.search = PermutationSearch::stripes;
    } else if (!arguments.search.empty() && arguments.search != "annealing") {
        refuse("--search {}: annealing or stripes expected{}", arguments.search,
               suggestion(arguments.search, std::vector<std::string>{"annealing", "stripes"}));
    }
    if (arguments.time_limit && !(*arguments.time_limit > 0))
        refuse("--time-limit must be more than 0 seconds");
    for (const auto& [given, option] : {std::pair{!arguments.search.empty(), "--search"},
                                        std::pair{arguments.time_limit.has_value(), "--time-limit"}}) {
        if (given && !options.permute)
            refuse("{} is for the search of a permutation: give --permute or --permute-only", option);
    }
    if (arguments.permute_only && arguments.transposable) {
        refuse("--permute-only prunes nothing, so that --transposable has no meaning beside it");
    }
    if (arguments.out.empty() && !arguments.dry_run)
        refuse("--out FILE says where the weights go (or use --dry-run)");
    return options;
}

/// The first skip pattern that matches the name, or nullptr; marks it as used.
const std::string* skipped_by(const std::string& name, const std::vector<std::string>& patterns,
                              std::vector<char>& used) {
    const std::string* first = nullptr;
    for (size_t i = 0; i < patterns.size(); ++i) {
        if (!matches_name(patterns[i], name)) continue;
        used[i] = 1;
        if (first == nullptr) first = &patterns[i];
    }
    return first;
}

PruneReport prune_onnx(const PruneArguments& arguments) {
    if (!arguments.model.empty())
        refuse("--model goes with a checkpoint, {} is a whole model", arguments.input);
    if (!arguments.out.empty() && !onnx::is_onnx_path(arguments.out))
        refuse("--out {}: {} is written as ONNX again, to a name that ends in .onnx", arguments.out,
               arguments.input);
    ModelRequest request;
    request.model = arguments.input;
    request.image = arguments.image;
    request.batch = 2;
    request.keep_batch = true;
    Notes notes;
    const onnx::Model model = requested_onnx(request, notes);
    const WeightSource source = onnx::initial_values();
    const PruneReport report = prune_network(
        arguments, model.graph, source,
        [&](const WeightSource& weights, const Recipe&) { onnx::save(arguments.out, model, weights); });
    notes.print();
    return report;
}

PruneReport prune_checkpoint(const PruneArguments& arguments) {
    if (!arguments.image.empty()) refuse("--image: {} knows its images", arguments.input);
    Notes notes;
    const CheckpointNetwork network = load_network(arguments.input, arguments.model, true, notes);
    const WeightSource source = network.weights();
    const Graph& graph = network.model.graph;
    const auto write = [&](const WeightSource& weights, const Recipe& recipe) {
        if (onnx::is_onnx_path(arguments.out)) {
            if (network.model.onnx.has_value()) {
                onnx::save(arguments.out, *network.model.onnx, weights);
            } else {
                onnx::save(arguments.out, graph, weights);
            }
            return;
        }
        const Recipe kept = arguments.permute_only ? Recipe{} : recipe;
        save_weights(arguments.out, graph, weights, first_metadata(network.info.model, kept));
    };
    const PruneReport report = prune_network(arguments, graph, source, write);
    notes.print();
    return report;
}

}  // namespace enmesh::cli
