#include "step/apply_recipe.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/rewriter.hpp"

namespace enmesh {
namespace {

class Rewriter {
  public:
    Rewriter(TrainingStep& step, const Graph& graph) : step_(step), old_(graph), copy_(graph, step.graph) {}

    RecipeRewrite run() {
        copy_.run([&](const Node& node) { copy_node(node); });
        for (int i = 0; i < static_cast<int>(old_.values().size()); ++i)
            result_.mapped.push_back(copy_.mapped(ValueId{i}));
        return std::move(result_);
    }

  private:
    using Packed = RecipeRewrite::Packed;

    const LayerDecision* decision(const std::string& layer, Stage stage) const {
        for (const LayerDecision& one : step_.decisions) {
            if (one.layer == layer && one.stage == stage) return &one;
        }
        return nullptr;
    }
    bool sparse(const std::string& layer, Stage stage) const {
        const LayerDecision* const found = decision(layer, stage);
        return found != nullptr && found->sparse;
    }
    Pattern pattern(const std::string& layer, Stage stage) const { return decision(layer, stage)->pattern; }

    Packed& packed_of(ValueId weights, const std::string& layer, Stage stage) {
        const Pattern asked = pattern(layer, stage);
        for (Packed& packed : result_.packed) {
            if (packed.weights != weights) continue;
            if (packed.pattern != asked) {
                refuse("layer '{}': its weights '{}' serve another layer too, which is {} and not {}", layer,
                       step_.graph.value(weights).name, to_string(packed.pattern), to_string(asked));
            }
            return packed;
        }
        result_.packed.push_back(
            {.weights = weights, .pattern = asked, .mask = {}, .ff = {}, .bp = {}, .ff_dense = {}});
        return result_.packed.back();
    }

    /// A mask state; a frozen one is chosen once from the weights, a transposable one renewed by WU.
    ValueId mask_of(Packed& packed) {
        if (packed.mask.valid()) return packed.mask;
        const Value& weights = step_.graph.value(packed.weights);
        ValueType type = weights.type;
        type.dtype = DType::u8;
        packed.mask = step_.graph.add_state(weights.name + ".mask", type);
        if (step_.recipe.ff_weight == WeightRule::frozen) {
            step_.frozen_masks.push_back(
                {packed.mask, packed.weights, packed.pattern, GroupAxis::input_channels});
        }
        return packed.mask;
    }

    /// The packed weights of one direction: a state that WU renews, or a node right here.
    ValueId pack(Packed& packed, WeightRule rule, GroupAxis axis, std::string_view suffix, Stage stage,
                 const std::string& layer) {
        const bool by_mask = rule == WeightRule::frozen || rule == WeightRule::transposable;
        std::vector<ValueId> inputs{packed.weights};
        if (by_mask) inputs.push_back(mask_of(packed));
        if (!step_.recipe.pre_generate) {
            const PackNm operation{packed.pattern, axis, by_mask ? Selection::mask : Selection::magnitude};
            return step_.graph.add_one(operation, inputs, layer, stage);
        }
        ValueType type = step_.graph.type(packed.weights);
        type.sparsity = NmSparsity{packed.pattern, axis};
        return step_.graph.add_state(step_.graph.value(packed.weights).name + std::string(suffix), type);
    }

    ValueId ff_weights(ValueId weights, const std::string& layer) {
        if (!sparse(layer, Stage::FF)) return weights;
        Packed& packed = packed_of(weights, layer, Stage::FF);
        if (!packed.ff.valid()) {
            packed.ff =
                pack(packed, step_.recipe.ff_weight, GroupAxis::input_channels, ".ff", Stage::FF, layer);
        }
        return packed.ff;
    }

    ValueId bp_weights(ValueId weights, const std::string& layer) {
        // What shares FF's mask and cannot run it N:M (STE, a grouped convolution) runs it as dense. The
        // masters of a frozen mask are zero where it prunes.
        const WeightRule rule = step_.recipe.bp_weight;
        const bool with_zeros =
            rule == WeightRule::ff_mask || (rule == WeightRule::transposable && !sparse(layer, Stage::BP));
        if (with_zeros && sparse(layer, Stage::FF)) return masked_weights(weights, layer);
        if (rule == WeightRule::dense || !sparse(layer, Stage::BP)) return weights;
        Packed& packed = packed_of(weights, layer, Stage::BP);
        if (!packed.bp.valid()) {
            packed.bp =
                pack(packed, step_.recipe.bp_weight, GroupAxis::output_channels, ".bp", Stage::BP, layer);
        }
        return packed.bp;
    }

    ValueId masked_weights(ValueId weights, const std::string& layer) {
        Packed& packed = packed_of(weights, layer, Stage::FF);
        if (packed.ff_dense.valid()) return packed.ff_dense;
        if (step_.recipe.pre_generate) {
            const std::string name = step_.graph.value(weights).name + ".ff_dense";
            packed.ff_dense = step_.graph.add_state(name, step_.graph.type(weights));
        } else {
            packed.ff_dense = step_.graph.add_one(UnpackNm{}, {packed.ff}, layer, Stage::BP);
        }
        return packed.ff_dense;
    }

    ValueId packed_gradient(ValueId gradient, const Node& node, GroupAxis axis, Selection selection) {
        const PackNm operation{pattern(node.layer, node.stage), axis, selection,
                               selection == Selection::mvue ? streams_++ : 0};
        return step_.graph.add_one(operation, {gradient}, node.layer, node.stage);
    }

    void copy_node(const Node& node) {
        std::vector<ValueId> inputs = copy_.mapped_inputs(node);
        const Operation& op = node.operation;
        const bool weighted = inputs.size() > 1 && step_.graph.value(inputs[1]).role == Role::parameter;
        if ((op.is<Conv2d>() || op.is<Linear>()) && weighted) {
            inputs[1] = ff_weights(inputs[1], node.layer);
        } else if ((op.is<Conv2dBackwardData>() || op.is<LinearBackwardData>()) && weighted) {
            if (step_.recipe.bp_gradient != GradientRule::dense && sparse(node.layer, Stage::BP)) {
                inputs[0] =
                    packed_gradient(inputs[0], node, GroupAxis::gradient_channels, Selection::magnitude);
            }
            inputs[1] = bp_weights(inputs[1], node.layer);
        } else if ((op.is<Conv2dBackwardWeights>() || op.is<LinearBackwardWeights>()) &&
                   step_.recipe.wg_gradient != GradientRule::dense && sparse(node.layer, Stage::WG)) {
            inputs[1] = packed_gradient(inputs[1], node, GroupAxis::positions, Selection::mvue);
        }
        copy_.copy(node, op, std::move(inputs));
    }

    TrainingStep& step_;
    const Graph& old_;
    GraphRewriter copy_;
    RecipeRewrite result_;
    int64_t streams_ = 0;
};

}  // namespace

const RecipeRewrite::Packed* RecipeRewrite::find(ValueId weights) const {
    const auto found =
        std::find_if(packed.begin(), packed.end(), [&](const Packed& p) { return p.weights == weights; });
    return found == packed.end() ? nullptr : &*found;
}

RecipeRewrite apply_recipe(TrainingStep& step, const Graph& graph) { return Rewriter(step, graph).run(); }

void add_packing(TrainingStep& step, const RecipeRewrite::Packed& packed, ValueId new_weights) {
    Graph& graph = step.graph;
    const Recipe& recipe = step.recipe;
    const std::string layer = graph.value(packed.weights).name;
    ValueId mask = packed.mask;
    if (mask.valid() && recipe.ff_weight == WeightRule::transposable) {
        const SelectMask select{packed.pattern, GroupAxis::input_channels, Selection::transposable,
                                recipe.mask_period};
        const ValueId renewed = graph.add_one(select, {new_weights, mask}, layer, Stage::WU);
        step.carried.emplace_back(renewed, mask);
        mask = renewed;
    }
    if (!recipe.pre_generate) return;
    const auto renew = [&](ValueId state, GroupAxis axis, WeightRule rule) {
        const bool by_mask = rule == WeightRule::frozen || rule == WeightRule::transposable;
        std::vector<ValueId> inputs{new_weights};
        if (by_mask) inputs.push_back(mask);
        const PackNm operation{packed.pattern, axis, by_mask ? Selection::mask : Selection::magnitude};
        const ValueId renewed = graph.add_one(operation, std::move(inputs), layer, Stage::WU);
        step.carried.emplace_back(renewed, state);
        return renewed;
    };
    ValueId new_ff;
    if (packed.ff.valid()) new_ff = renew(packed.ff, GroupAxis::input_channels, recipe.ff_weight);
    if (packed.bp.valid()) renew(packed.bp, GroupAxis::output_channels, recipe.bp_weight);
    if (packed.ff_dense.valid()) {
        step.carried.emplace_back(graph.add_one(UnpackNm{}, {new_ff}, layer, Stage::WU), packed.ff_dense);
    }
}

}  // namespace enmesh
