#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Expand::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    if (broadcast_shape(inputs[0].shape, shape) != shape)
        refuse("{} does not broadcast to {}", to_string(inputs[0].shape), to_string(shape));
    if (per_image && shape.rank() < 1) refuse("a scalar has no extent for the batch");
    return {dense_type(shape, inputs[0].dtype)};
}

void Expand::differentiate(GradientBuilder& builder) const {
    const SumTo back{builder.type(builder.input(0)).shape};
    builder.contribute(0, builder.emit_one(Stage::BP, back, {builder.gradient()}));
}

}  // namespace enmesh
