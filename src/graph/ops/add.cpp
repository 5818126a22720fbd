#include <algorithm>

#include "graph/ops/common.hpp"

namespace enmesh {

Shape broadcast_shape(const Shape& a, const Shape& b) {
    Shape result = a.rank() >= b.rank() ? a : b;
    for (int axis = 1; axis <= std::min(a.rank(), b.rank()); ++axis) {
        const int64_t x = a[-axis], y = b[-axis];
        if (x != y && x != 1 && y != 1)
            refuse("shapes {} and {} do not broadcast", to_string(a), to_string(b));
        result[-axis] = x == 1 ? y : x;
    }
    return result;
}

std::vector<ValueType> Add::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    return {dense_type(broadcast_shape(inputs[0].shape, inputs[1].shape), inputs[0].dtype)};
}

void Add::differentiate(GradientBuilder& builder) const {
    for (int i = 0; i < 2; ++i) {
        if (builder.wanted(i)) contribute_summed(builder, i, builder.gradient());
    }
}

std::vector<ValueType> Subtract::infer(std::span<const ValueType> inputs) const {
    return Add{}.infer(inputs);
}

void Subtract::differentiate(GradientBuilder& builder) const {
    if (builder.wanted(0)) contribute_summed(builder, 0, builder.gradient());
    if (builder.wanted(1)) {
        const ValueId share = sum_to(builder, builder.gradient(), 1);
        builder.contribute(1, builder.emit_one(Stage::BP, Scale{-1}, {share}));
    }
}

}  // namespace enmesh
