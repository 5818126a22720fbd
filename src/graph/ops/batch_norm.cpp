#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> BatchNorm::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 5, 5);
    const ValueType& src = inputs[0];
    if (src.shape.rank() < 2) refuse("src has shape {}, at least rank 2 expected", to_string(src.shape));
    const Shape channels{src.shape[1]};
    constexpr std::array names = {"gamma", "beta", "running_mean", "running_variance"};
    for (size_t i = 0; i < names.size(); ++i) require_shape(inputs[i + 1], channels, names[i]);
    const ValueType statistic = dense_type(channels, DType::f32);
    if (!training) return {src};
    if (src.shape.elements() / src.shape[1] < 2) {
        refuse("batch statistics need more than one value per channel, src is {}", to_string(src.shape));
    }
    return {src, statistic, statistic, statistic, statistic};
}

void BatchNorm::differentiate(GradientBuilder& builder) const {
    if (!training) refuse("batch_norm on running statistics has no gradient rule");
    const std::vector<ValueId> gradients = builder.emit(
        Stage::BP, BatchNormBackward{},
        {builder.input(0), builder.input(1), builder.output(1), builder.output(2), builder.gradient()});
    for (int i = 0; i < 3; ++i) {
        if (builder.wanted(i)) builder.contribute(i, gradients[static_cast<size_t>(i)]);
    }
}

std::vector<std::array<int, 2>> BatchNorm::in_place() const {
    if (!training) return {};
    return {{3, 3}, {4, 4}};
}

std::vector<ValueType> BatchNormBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 5, 5);
    require_same_shape(inputs[0], inputs[4], "src and diff_dst");
    const ValueType channel = dense_type(inputs[1].shape, DType::f32);
    return {inputs[4], channel, channel};
}

}  // namespace enmesh
