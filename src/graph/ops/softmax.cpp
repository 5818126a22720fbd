#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Softmax::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    if (inputs[0].shape.rank() < 1) refuse("src is a scalar");
    return {inputs[0]};
}

void Softmax::differentiate(GradientBuilder& builder) const {
    builder.contribute(
        0, builder.emit_one(Stage::BP, SoftmaxBackward{}, {builder.output(0), builder.gradient()}));
}

std::vector<ValueType> SoftmaxBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_same_shape(inputs[0], inputs[1], "dst and diff_dst");
    return {inputs[1]};
}

}  // namespace enmesh
