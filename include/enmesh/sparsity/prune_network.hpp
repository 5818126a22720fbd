#pragma once

#include <functional>
#include <string>
#include <vector>

#include "enmesh/sparsity/permutation_groups.hpp"
#include "enmesh/sparsity/prune.hpp"
#include "enmesh/sparsity/recipe.hpp"

namespace enmesh {

/// A tensor that is not pruned.
struct LeftDense {
    std::string name, reason;
    std::string layer{};  ///< of a network
};

/// A channel group and what its search found.
struct SearchedGroup {
    int64_t channels = 0;
    std::vector<std::string> readers, producers;
    double kept_plain = 0, kept = 0;  ///< sums of |w| over the readers' columns
    double seconds = 0;
    bool exact = false;     ///< no permutation of this group keeps more
    bool permuted = false;  ///< false: the order there is was kept
};

struct NetworkPlan {
    PruneOptions options;
    std::vector<PrunedLayer>
        layers;  ///< by their weights' names, in the graph's order; no permutations in them
    std::vector<LeftDense> left_dense;
    ChannelGroups channels;  ///< empty without permute
    std::vector<std::vector<int64_t>> permutations;
    std::vector<SearchedGroup> groups;
};

/// Which weights of a network are pruned, after which permutations, and what that keeps. Layers are chosen as
/// `enmesh train --method asp` chooses them (decide_layers with `overrides`): convolutions and linear layers
/// whose input channels per group M divides; first layer and classifier stay dense. Permutations are searched
/// for each group of channels that move together; refused where an override gives a pattern of its own.
/// `progress(i, n, name)` is called before each search.
NetworkPlan plan_network(const Graph& graph, const WeightSource& source, const PruneOptions& options,
                         const std::vector<RecipeOverride>& overrides,
                         const std::function<void(size_t, size_t, const std::string&)>& progress = {});

/// The values after the plan: permuted, then pruned. `source` and the plan must outlive the result.
WeightSource pruned_weights(const NetworkPlan& plan, const WeightSource& source);

/// The recipe that pruned layers follow: frozen masks, or transposable ones.
Recipe pruning_recipe(const PruneOptions& options, const std::vector<RecipeOverride>& overrides);

}  // namespace enmesh
