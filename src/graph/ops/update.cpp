#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> SgdUpdate::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 5, 5);
    require_same_shape(inputs[0], inputs[1], "weights and gradient");
    require_same_shape(inputs[0], inputs[2], "weights and velocity");
    return {inputs[0], inputs[2]};
}

std::vector<ValueType> AdamWUpdate::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 7, 7);
    for (size_t i = 1; i < 4; ++i) require_same_shape(inputs[0], inputs[i], "weights and their state");
    return {inputs[0], inputs[2], inputs[3]};
}

std::vector<ValueType> GradientNorm::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, inputs.size());
    return {inputs[0], inputs[0]};
}

std::vector<ValueType> Accumulate::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_same_shape(inputs[0], inputs[1], "accumulator and gradient");
    return {inputs[0]};
}

std::vector<ValueType> ExponentialAverage::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 3, 3);
    require_same_shape(inputs[0], inputs[1], "average and weights");
    return {inputs[0]};
}

}  // namespace enmesh
