#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Pad::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    Shape dst = inputs[0].shape;
    const auto rank = static_cast<size_t>(dst.rank());
    if (before.size() != rank || after.size() != rank) {
        refuse("borders are given before {} and after {} axes, src has shape {}", before.size(), after.size(),
               to_string(dst));
    }
    for (size_t axis = 0; axis < rank; ++axis) {
        for (const int64_t border : {before[axis], after[axis]}) {
            if (border < 0 || border > 1 << 20) refuse("a border of {} is out of range", border);
        }
        dst[static_cast<int>(axis)] += before[axis] + after[axis];
    }
    return {dense_type(dst, inputs[0].dtype)};
}

void Pad::differentiate(GradientBuilder& builder) const {
    const Shape src = builder.type(builder.input(0)).shape;  // a copy: emitting moves the types
    ValueId share = builder.gradient();
    for (int axis = 0; axis < src.rank(); ++axis) {
        const int64_t begin = before[static_cast<size_t>(axis)];
        if (begin == 0 && after[static_cast<size_t>(axis)] == 0) continue;
        share = builder.emit_one(Stage::BP, Slice{axis, begin, begin + src[axis], 1}, {share});
    }
    builder.contribute(0, share);
}

}  // namespace enmesh
