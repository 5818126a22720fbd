#include "graph/ops/common.hpp"

namespace enmesh {

std::string attribute_text(const Slice& slice) { return "{" + attributes_text(slice) + "}"; }

std::vector<ValueType> Slice::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    Shape dst = inputs[0].shape;
    if (axis < 0 || axis >= dst.rank()) refuse("axis {} is not one of {}", axis, to_string(dst));
    int64_t& extent = dst[static_cast<int>(axis)];
    if (step < 1 || begin < 0 || end <= begin || end > extent) {
        refuse("[{}, {}) by {} is not a slice of extent {}", begin, end, step, extent);
    }
    extent = (end - begin + step - 1) / step;
    return {dense_type(dst, inputs[0].dtype)};
}

void Slice::differentiate(GradientBuilder& builder) const {
    const SliceBackward rule{*this, builder.type(builder.input(0)).shape};
    builder.contribute(0, builder.emit_one(Stage::BP, rule, {builder.gradient()}));
}

std::vector<ValueType> SliceBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    const std::array forward = {dense_type(src, inputs[0].dtype)};
    require_shape(inputs[0], slice.infer(forward)[0].shape, "diff_dst");
    return {forward[0]};
}

}  // namespace enmesh
