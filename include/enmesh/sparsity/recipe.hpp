#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// What the weight operand of a product is.
enum class WeightRule : uint8_t {
    dense,
    magnitude,     ///< N:M by magnitude along this product's own reduction axis, renewed at every update
    frozen,        ///< N:M by a mask chosen once
    transposable,  ///< N:M by a mask that is N:M along both channel axes
    ff_mask,       ///< FF's mask: not N:M along this product's reduction, so counted and run as dense
};
/// What the out-grad operand of a product is.
enum class GradientRule : uint8_t { dense, magnitude, mvue };
std::string to_string(WeightRule rule);
std::string to_string(GradientRule rule);

/// Layers whose name matches `layers` (with * and ?) are made sparse or left dense against the default.
struct RecipeOverride {
    std::string layers;
    bool sparse = true;
    Pattern pattern = {};  ///< of these layers; 0:0: the recipe's
    friend bool operator==(const RecipeOverride&, const RecipeOverride&) = default;
};

/// Which operand of which product is N:M sparse, along which axis, chosen how. A method is a value of this
/// table (design §2; definitions: Zhou et al. 2021 for SR-STE, McDanel et al. 2022 for SDGP, Hubara et al.
/// 2021 for transposable masks, Chmiel et al. 2022 for MVUE, Mishra et al. 2021 for ASP). Nothing outside the
/// recipe knows a method's name.
struct Recipe {
    std::string method = "dense";
    Pattern pattern;  ///< 0:0 for dense
    WeightRule ff_weight = WeightRule::dense;
    WeightRule bp_weight = WeightRule::dense;
    GradientRule bp_gradient = GradientRule::dense;
    GradientRule wg_gradient = GradientRule::dense;
    bool wg_masked = false;   ///< the weight gradient is masked by FF's mask
    double sr_decay = 0;      ///< pull of pruned weights towards zero, once per update
    int64_t mask_period = 1;  ///< updates between two choices of a transposable mask
    bool pre_generate =
        true;  ///< pack for the next step right after the update; otherwise when a product needs it
    std::vector<RecipeOverride> overrides;

    friend bool operator==(const Recipe&, const Recipe&) = default;
    bool dense() const { return pattern.m == 0; }
};

/// Every method's name, in the table's order.
std::vector<std::string> method_names();
/// "bdwp", or with additions "bdwp+mvue", "bdwp+sr" (SR decay 2e-4). The pattern is ignored by dense. Refuses
/// an unknown name with the nearest one, and a missing pattern.
Recipe make_recipe(std::string_view method, std::optional<Pattern> pattern);
/// The table as text, a row per method: `enmesh inspect --methods`.
std::string recipe_table();

/// Matches `text` against a pattern of * (any run) and ? (any one character).
bool matches_name_pattern(std::string_view pattern, std::string_view text);

/// What one product of one layer does under a recipe.
struct LayerDecision {
    std::string layer;
    Stage stage = Stage::FF;
    bool sparse = false;
    Pattern pattern;  ///< the recipe's, or that of the last override that matches
    std::string
        reason;  ///< why it was left dense; empty if sparse or if the recipe asks nothing of this product
};

/// The decision for every product with weights in the forward graph, FF, BP and WG. First layer, classifier,
/// depthwise convolutions and channel counts that M does not divide stay dense, unless an override asks for
/// sparse. An override that matches no layer, or that names a layer exactly and can make none of its products
/// sparse, is refused.
std::vector<LayerDecision> decide_layers(const Graph& graph, const Recipe& recipe);
/// The patterns that the decisions hold, the recipe's first: "2:8", "2:8+2:4"; the recipe's where no layer is
/// sparse, "" for dense.
std::string patterns_text(const Recipe& recipe, std::span<const LayerDecision> decisions);

}  // namespace enmesh
