#include "graph/ops/common.hpp"

namespace enmesh {
namespace {

struct Extents {
    int64_t rows, inner;
};

Extents extents(const Shape& shape, bool transposed) {
    return transposed ? Extents{shape[-1], shape[-2]} : Extents{shape[-2], shape[-1]};
}

}  // namespace

std::vector<ValueType> MatMul::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    const Shape &a = inputs[0].shape, &b = inputs[1].shape;
    if (a.rank() < 2 || a.rank() != b.rank())
        refuse("operands {} and {} differ in rank", to_string(a), to_string(b));
    for (int axis = 0; axis + 2 < a.rank(); ++axis) {
        if (a[axis] != b[axis]) refuse("operands {} and {} differ in batch", to_string(a), to_string(b));
    }
    const auto [rows, inner] = extents(a, transpose_a);
    const auto [inner_b, cols] = extents(b, transpose_b);
    if (inner != inner_b) refuse("operands {} and {} differ in the reduction", to_string(a), to_string(b));
    Shape dst = a;
    dst[-2] = rows;
    dst[-1] = cols;
    return {dense_type(dst, inputs[0].dtype)};
}

void MatMul::differentiate(GradientBuilder& builder) const {
    const ValueId diff = builder.gradient(), a = builder.input(0), b = builder.input(1);
    if (builder.wanted(0)) {
        const ValueId diff_a = transpose_a
                                   ? builder.emit_one(Stage::BP, MatMul{transpose_b, true}, {b, diff})
                                   : builder.emit_one(Stage::BP, MatMul{false, !transpose_b}, {diff, b});
        builder.contribute(0, diff_a);
    }
    if (builder.wanted(1)) {
        const ValueId diff_b = transpose_b
                                   ? builder.emit_one(Stage::BP, MatMul{true, transpose_a}, {diff, a})
                                   : builder.emit_one(Stage::BP, MatMul{!transpose_a, false}, {a, diff});
        builder.contribute(1, diff_b);
    }
}

OperationCount MatMul::count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const {
    const int64_t dense = outputs[0].shape.elements() * extents(inputs[0].shape, transpose_a).inner;
    return {dense, dense, 0};
}

}  // namespace enmesh
