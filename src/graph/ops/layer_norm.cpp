#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> LayerNorm::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 3, 3);
    const Shape& src = inputs[0].shape;
    if (src.rank() < 2) refuse("src has shape {}, at least rank 2 expected", to_string(src));
    require_shape(inputs[1], Shape{src[-1]}, "gamma");
    require_shape(inputs[2], Shape{src[-1]}, "beta");
    const ValueType row = dense_type(Shape{src.elements() / src[-1]}, DType::f32);
    return {inputs[0], row, row};
}

void LayerNorm::differentiate(GradientBuilder& builder) const {
    const std::vector<ValueId> gradients = builder.emit(
        Stage::BP, LayerNormBackward{},
        {builder.input(0), builder.input(1), builder.output(1), builder.output(2), builder.gradient()});
    for (int i = 0; i < 3; ++i) {
        if (builder.wanted(i)) builder.contribute(i, gradients[static_cast<size_t>(i)]);
    }
}

std::vector<ValueType> LayerNormBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 5, 5);
    require_same_shape(inputs[0], inputs[4], "src and diff_dst");
    const ValueType feature = dense_type(inputs[1].shape, DType::f32);
    return {inputs[4], feature, feature};
}

}  // namespace enmesh
