#include "graph/ops/common.hpp"

namespace enmesh {
namespace {

int64_t pooled_extent(const PoolWindow& window, size_t axis, int64_t extent) {
    const int64_t kernel = window.kernel[axis], stride = window.stride[axis];
    const int64_t before = window.padding[axis], after = window.padding[axis + 2];
    if (kernel < 1 || stride < 1) refuse("pool kernel and stride must be at least 1");
    if (before < 0 || after < 0 || before >= kernel || after >= kernel)
        refuse("pool padding must be below its kernel");
    const int64_t room = extent + before + after - kernel;
    if (room < 0)
        refuse("a pool window of {} does not fit the padded extent {}", kernel, extent + before + after);
    int64_t count = room / stride + 1;
    // A window hanging over the edge must still start inside the image or its leading padding.
    if (window.ceil && room % stride != 0 && count * stride < extent + before) ++count;
    return count;
}

std::vector<ValueType> backward_type(std::span<const ValueType> inputs, const PoolWindow& window,
                                     const Shape& src) {
    require_shape(inputs[0], pooled_shape(window, src), "diff_dst");
    return {dense_type(src, inputs[0].dtype)};
}

}  // namespace

std::string attribute_text(const PoolWindow& window) { return "{" + attributes_text(window) + "}"; }

Shape pooled_shape(const PoolWindow& window, const Shape& src) {
    return {src[0], src[1], pooled_extent(window, 0, src[2]), pooled_extent(window, 1, src[3])};
}

std::vector<ValueType> MaxPool2d::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    require_rank(inputs[0], 4, "src");
    if (window.kernel[0] * window.kernel[1] > 256)
        refuse("max pool windows above 256 elements are not supported");
    const Shape dst = pooled_shape(window, inputs[0].shape);
    return {dense_type(dst, inputs[0].dtype), dense_type(dst, DType::u8)};
}

void MaxPool2d::differentiate(GradientBuilder& builder) const {
    const MaxPool2dBackward rule{window, builder.type(builder.input(0)).shape};
    builder.contribute(0, builder.emit_one(Stage::BP, rule, {builder.gradient(), builder.output(1)}));
}

std::vector<ValueType> MaxPool2dBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    return backward_type(inputs, window, src);
}

std::vector<ValueType> AveragePool2d::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    require_rank(inputs[0], 4, "src");
    return {dense_type(pooled_shape(window, inputs[0].shape), inputs[0].dtype)};
}

void AveragePool2d::differentiate(GradientBuilder& builder) const {
    const AveragePool2dBackward rule{window, count_padding, builder.type(builder.input(0)).shape};
    builder.contribute(0, builder.emit_one(Stage::BP, rule, {builder.gradient()}));
}

std::vector<ValueType> AveragePool2dBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    return backward_type(inputs, window, src);
}

std::vector<ValueType> GlobalAveragePool::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    require_rank(inputs[0], 4, "src");
    return {dense_type(Shape{inputs[0].shape[0], inputs[0].shape[1], 1, 1}, inputs[0].dtype)};
}

void GlobalAveragePool::differentiate(GradientBuilder& builder) const {
    const GlobalAveragePoolBackward rule{builder.type(builder.input(0)).shape};
    builder.contribute(0, builder.emit_one(Stage::BP, rule, {builder.gradient()}));
}

std::vector<ValueType> GlobalAveragePoolBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    require_shape(inputs[0], Shape{src[0], src[1], 1, 1}, "diff_dst");
    return {dense_type(src, inputs[0].dtype)};
}

}  // namespace enmesh
