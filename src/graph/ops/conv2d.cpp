#include "graph/ops/common.hpp"

namespace enmesh {
namespace {

void check_attributes(const Conv2d& conv) {
    const auto positive = [](int64_t value, std::string_view what) {
        if (value < 1 || value > 1 << 20) refuse("{} {} is out of range", what, value);
    };
    for (int axis = 0; axis < 2; ++axis) {
        positive(conv.stride[static_cast<size_t>(axis)], "stride");
        positive(conv.dilation[static_cast<size_t>(axis)], "dilation");
    }
    positive(conv.groups, "groups");
    for (const int64_t pad : conv.padding) {
        if (pad < 0 || pad > 1 << 20) refuse("padding {} is out of range", pad);
    }
}

int64_t output_extent(const Conv2d& conv, int axis, int64_t extent, int64_t kernel) {
    const auto at = static_cast<size_t>(axis);
    const int64_t padded = extent + conv.padding[at] + conv.padding[at + 2];
    const int64_t window = (kernel - 1) * conv.dilation[at] + 1;
    if (window > padded) refuse("a kernel window of {} does not fit the padded extent {}", window, padded);
    return (padded - window) / conv.stride[at] + 1;
}

}  // namespace

std::string attribute_text(const Conv2d& conv) { return "{" + attributes_text(conv) + "}"; }

std::vector<ValueType> Conv2d::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 3);
    check_attributes(*this);
    const ValueType &src = inputs[0], &weights = inputs[1];
    require_rank(src, 4, "src");
    require_rank(weights, 4, "weights");
    const int64_t k = weights.shape[0];
    if (src.shape[1] != weights.shape[1] * groups) {
        refuse("src has {} channels, weights {} times groups {}", src.shape[1], weights.shape[1], groups);
    }
    if (k % groups != 0) refuse("{} output channels do not divide into {} groups", k, groups);
    if (inputs.size() == 3) require_shape(inputs[2], Shape{k}, "bias");
    const Shape dst{src.shape[0], k, output_extent(*this, 0, src.shape[2], weights.shape[2]),
                    output_extent(*this, 1, src.shape[3], weights.shape[3])};
    return {dense_type(dst, src.dtype)};
}

void Conv2d::differentiate(GradientBuilder& builder) const {
    const ValueId diff_dst = builder.gradient();
    const ValueId src = builder.input(0), weights = builder.input(1);
    if (builder.wanted(1)) {
        const Conv2dBackwardWeights rule{*this, builder.type(weights).shape};
        builder.contribute(1, builder.emit_one(Stage::WG, rule, {src, diff_dst}));
    }
    if (builder.input_count() == 3 && builder.wanted(2)) {
        builder.contribute(2, builder.emit_one(Stage::WG, SumExcept{1}, {diff_dst}));
    }
    if (builder.wanted(0)) {
        const Conv2dBackwardData rule{*this, builder.type(src).shape};
        builder.contribute(0, builder.emit_one(Stage::BP, rule, {diff_dst, weights}));
    }
}

OperationCount Conv2d::count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const {
    const Shape& weights = inputs[1].shape;
    return product_count(outputs[0].shape.elements() * weights[1] * weights[2] * weights[3], inputs[1],
                         GroupAxis::input_channels);
}

std::vector<ValueType> Conv2dBackwardData::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    const ValueType weights = dense_type(inputs[1].shape, inputs[1].dtype);
    const std::array forward_inputs = {dense_type(src, inputs[0].dtype), weights};
    require_shape(inputs[0], conv.infer(forward_inputs)[0].shape, "diff_dst");
    return {dense_type(src, inputs[0].dtype)};
}

OperationCount Conv2dBackwardData::count(std::span<const ValueType> inputs,
                                         std::span<const ValueType>) const {
    const Shape& weights = inputs[1].shape;
    const int64_t dense = inputs[0].shape.elements() * weights[1] * weights[2] * weights[3];
    return backward_data_count(dense, inputs[0], inputs[1]);
}

std::vector<ValueType> Conv2dBackwardWeights::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    const std::array forward_inputs = {inputs[0], dense_type(weights, inputs[0].dtype)};
    require_shape(inputs[1], conv.infer(forward_inputs)[0].shape, "diff_dst");
    return {dense_type(weights, DType::f32)};
}

OperationCount Conv2dBackwardWeights::count(std::span<const ValueType> inputs,
                                            std::span<const ValueType>) const {
    const int64_t dense = inputs[1].shape.elements() * weights[1] * weights[2] * weights[3];
    return product_count(dense, inputs[1], GroupAxis::positions);
}

}  // namespace enmesh
