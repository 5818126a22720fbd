#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> SumExcept::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    const int rank = inputs[0].shape.rank();
    if (axis < -rank || axis >= rank) refuse("axis {} is not one of {}", axis, to_string(inputs[0].shape));
    return {dense_type(Shape{inputs[0].shape[static_cast<int>(axis)]}, DType::f32)};
}

std::vector<ValueType> SumTo::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    if (broadcast_shape(shape, inputs[0].shape) != inputs[0].shape) {
        refuse("{} does not broadcast to {}", to_string(shape), to_string(inputs[0].shape));
    }
    return {dense_type(shape, inputs[0].dtype)};
}

}  // namespace enmesh
