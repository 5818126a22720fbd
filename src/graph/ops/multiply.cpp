#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Multiply::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    return {dense_type(broadcast_shape(inputs[0].shape, inputs[1].shape), inputs[0].dtype)};
}

void Multiply::differentiate(GradientBuilder& builder) const {
    for (int i = 0; i < 2; ++i) {
        if (!builder.wanted(i)) continue;
        contribute_summed(
            builder, i, builder.emit_one(Stage::BP, Multiply{}, {builder.gradient(), builder.input(1 - i)}));
    }
}

std::vector<ValueType> Divide::infer(std::span<const ValueType> inputs) const {
    return Multiply{}.infer(inputs);
}

void Divide::differentiate(GradientBuilder& builder) const {
    const ValueId quotient = builder.emit_one(Stage::BP, Divide{}, {builder.gradient(), builder.input(1)});
    if (builder.wanted(0)) contribute_summed(builder, 0, quotient);
    if (builder.wanted(1)) {
        const ValueId product = builder.emit_one(Stage::BP, Multiply{}, {quotient, builder.output(0)});
        builder.contribute(1, builder.emit_one(Stage::BP, Scale{-1}, {sum_to(builder, product, 1)}));
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
