#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Transpose::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    const Shape& src = inputs[0].shape;
    std::vector<bool> seen(order.size(), false);
    std::vector<int64_t> dims;
    for (const int64_t axis : order) {
        if (axis < 0 || axis >= src.rank() || seen[static_cast<size_t>(axis)]) {
            refuse("order {} is not a permutation of the axes of {}", attribute_text(order), to_string(src));
        }
        seen[static_cast<size_t>(axis)] = true;
        dims.push_back(src[static_cast<int>(axis)]);
    }
    if (static_cast<int>(order.size()) != src.rank())
        refuse("order {} does not fit {}", attribute_text(order), to_string(src));
    return {dense_type(Shape(dims), inputs[0].dtype)};
}

void Transpose::differentiate(GradientBuilder& builder) const {
    Transpose back{std::vector<int64_t>(order.size())};
    for (size_t i = 0; i < order.size(); ++i)
        back.order[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
    builder.contribute(0, builder.emit_one(Stage::BP, back, {builder.gradient()}));
}

}  // namespace enmesh
