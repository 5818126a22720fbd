#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "enmesh/sparsity/permutation_groups.hpp"
#include "enmesh/sparsity/recipe.hpp"

namespace enmesh {

// Weights that were pruned say by their zeros which layers are N:M and by which masks. Not every zero does: a
// layer was pruned to a pattern if that holds everywhere and at least half of the groups that are not all
// zero hold N values, and a pattern denser than 1:2 counts only where it is asked for.

/// Whether the weights hold the pattern already: no group has more than N values that are not zero, and not
/// all of them are zero (such a tensor was not pruned, it waits to be trained).
bool holds_pattern(const Shape& shape, GroupAxis axis, Pattern pattern, std::span<const float> weights);

/// The pattern along input channels that spares the network the most weights, among those that a convolution
/// or linear layer was pruned to; nothing if there is none.
std::optional<Pattern> held_pattern(const Graph& graph, const WeightSource& source);

/// A layer for which the weights overrule the recipe's default.
struct HeldDifference {
    std::string layer;
    bool sparse = false;  ///< kept N:M, though dense by default; otherwise left dense among N:M layers
    std::string reason;   ///< why it is dense by default; "" where it is sparse by default
    Pattern pattern;      ///< that it keeps, or would be pruned to
};

/// A layer that stays N:M as its weights are.
struct KeptLayer {
    std::string layer;
    Pattern pattern;
    friend bool operator==(const KeptLayer&, const KeptLayer&) = default;
};

struct HeldMasks {
    Recipe recipe;
    int layers = 0;  ///< with weights, in the network
    std::vector<KeptLayer> kept;
    std::vector<HeldDifference> differences;
};

/// Which pattern a layer keeps that holds the recipe's and a sparser one: the recipe's, or the sparser one
/// where it serves BP as well as the recipe's.
enum class HeldPattern : uint8_t { as_asked, sparsest };

/// A recipe with frozen masks that goes by the masks there are: where at least one layer's weights hold a
/// pattern, those that hold one are sparse and all others dense, unless an override of `recipe` says
/// otherwise. A layer that does not hold the recipe's pattern takes the sparsest that it was pruned to. BP
/// takes the masks too (`bp_weight` frozen) if all of them are N:M along both channel axes wherever BP could
/// be sparse. A recipe without frozen masks comes back as it is.
HeldMasks keep_held_masks(const Graph& graph, const Recipe& recipe, const WeightSource& source,
                          HeldPattern which = HeldPattern::as_asked);

/// Names of the weights that FF under the recipe would not take as they are but prune.
std::vector<std::string> weights_to_prune(const Graph& graph, const Recipe& recipe,
                                          const WeightSource& source);

}  // namespace enmesh
