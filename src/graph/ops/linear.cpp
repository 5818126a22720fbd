#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Linear::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 3);
    const ValueType &src = inputs[0], &weights = inputs[1];
    require_rank(weights, 2, "weights");
    if (src.shape.rank() < 2) refuse("src has shape {}, at least rank 2 expected", to_string(src.shape));
    if (src.shape[-1] != weights.shape[1]) {
        refuse("src has {} features, weights expect {}", src.shape[-1], weights.shape[1]);
    }
    if (inputs.size() == 3) require_shape(inputs[2], Shape{weights.shape[0]}, "bias");
    Shape dst = src.shape;
    dst[-1] = weights.shape[0];
    return {dense_type(dst, src.dtype)};
}

void Linear::differentiate(GradientBuilder& builder) const {
    const ValueId diff_dst = builder.gradient();
    if (builder.wanted(1)) {
        builder.contribute(
            1, builder.emit_one(Stage::WG, LinearBackwardWeights{}, {builder.input(0), diff_dst}));
    }
    if (builder.input_count() == 3 && builder.wanted(2)) {
        builder.contribute(2, builder.emit_one(Stage::WG, SumExcept{-1}, {diff_dst}));
    }
    if (builder.wanted(0)) {
        builder.contribute(0,
                           builder.emit_one(Stage::BP, LinearBackwardData{}, {diff_dst, builder.input(1)}));
    }
}

OperationCount Linear::count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const {
    return product_count(outputs[0].shape.elements() * inputs[1].shape[1], inputs[1],
                         GroupAxis::input_channels);
}

std::vector<ValueType> LinearBackwardData::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_rank(inputs[1], 2, "weights");
    if (inputs[0].shape[-1] != inputs[1].shape[0]) {
        refuse("diff_dst has {} features, weights expect {}", inputs[0].shape[-1], inputs[1].shape[0]);
    }
    Shape src = inputs[0].shape;
    src[-1] = inputs[1].shape[1];
    return {dense_type(src, inputs[0].dtype)};
}

OperationCount LinearBackwardData::count(std::span<const ValueType> inputs,
                                         std::span<const ValueType> outputs) const {
    const int64_t dense = outputs[0].shape.elements() * inputs[1].shape[0];
    return backward_data_count(dense, inputs[0], inputs[1]);
}

std::vector<ValueType> LinearBackwardWeights::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    const int64_t c = inputs[0].shape[-1], k = inputs[1].shape[-1];
    if (inputs[0].shape.elements() / c != inputs[1].shape.elements() / k) {
        refuse("src {} and diff_dst {} have different numbers of rows", to_string(inputs[0].shape),
               to_string(inputs[1].shape));
    }
    return {dense_type(Shape{k, c}, DType::f32)};
}

OperationCount LinearBackwardWeights::count(std::span<const ValueType> inputs,
                                            std::span<const ValueType>) const {
    return product_count(inputs[1].shape.elements() * inputs[0].shape[-1], inputs[1], GroupAxis::positions);
}

}  // namespace enmesh
