#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Multiply::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    return {dense_type(broadcast_shape(inputs[0].shape, inputs[1].shape), inputs[0].dtype)};
}

void Multiply::differentiate(GradientBuilder& builder) const {
    for (int i = 0; i < 2; ++i) {
        if (!builder.wanted(i)) continue;
        const Shape shape = builder.type(builder.input(i)).shape;  // a copy: emitting moves the types
        ValueId share = builder.emit_one(Stage::BP, Multiply{}, {builder.gradient(), builder.input(1 - i)});
        if (builder.type(share).shape != shape) share = builder.emit_one(Stage::BP, SumTo{shape}, {share});
        builder.contribute(i, share);
    }
}

std::vector<ValueType> Scale::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    return {inputs[0]};
}

void Scale::differentiate(GradientBuilder& builder) const {
    builder.contribute(0, builder.emit_one(Stage::BP, Scale{factor}, {builder.gradient()}));
}

}  // namespace enmesh
