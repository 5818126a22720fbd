#pragma once

#include "enmesh/step/step.hpp"

namespace enmesh {

/// Copies `graph` (FF, BP and WG) into step.graph with the sparse operands of products replaced by packed
/// ones, per step.recipe and step.decisions; packs on demand or, with pre-generation, leaves them to
/// add_packing(). Returns where every value of `graph` went.
struct RecipeRewrite {
    std::vector<ValueId> mapped;  ///< old value index -> new value

    /// The packed forms of one parameter; invalid where the recipe asks for none.
    struct Packed {
        ValueId weights;
        Pattern pattern;
        ValueId mask;      ///< frozen or transposable (u8 state)
        ValueId ff, bp;    ///< N:M operands
        ValueId ff_dense;  ///< FF's operand with zeros, for a BP that runs it as dense
    };
    std::vector<Packed> packed;
    const Packed* find(ValueId weights) const;
};
RecipeRewrite apply_recipe(TrainingStep& step, const Graph& graph);

/// The WU nodes that renew masks and packed operands from a parameter's new value (pre-generation).
void add_packing(TrainingStep& step, const RecipeRewrite::Packed& packed, ValueId new_weights);

}  // namespace enmesh
