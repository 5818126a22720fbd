#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Concat::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1024);
    Shape dst = inputs[0].shape;
    if (axis < 0 || axis >= dst.rank()) refuse("axis {} is not one of {}", axis, to_string(dst));
    int64_t extent = 0;
    for (const ValueType& input : inputs) {
        Shape same = input.shape;
        if (same.rank() != dst.rank()) refuse("inputs differ in rank");
        extent += same[static_cast<int>(axis)];
        same[static_cast<int>(axis)] = dst[static_cast<int>(axis)];
        if (same != dst)
            refuse("{} and {} differ outside axis {}", to_string(input.shape), to_string(dst), axis);
    }
    dst[static_cast<int>(axis)] = extent;
    return {dense_type(dst, inputs[0].dtype)};
}

void Concat::differentiate(GradientBuilder& builder) const {
    int64_t begin = 0;
    for (int i = 0; i < builder.input_count(); ++i) {
        const int64_t end = begin + builder.type(builder.input(i)).shape[static_cast<int>(axis)];
        if (builder.wanted(i)) {
            builder.contribute(i,
                               builder.emit_one(Stage::BP, Slice{axis, begin, end, 1}, {builder.gradient()}));
        }
        begin = end;
    }
}

}  // namespace enmesh
