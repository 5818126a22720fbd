#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Reduce::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    const Shape& src = inputs[0].shape;
    std::vector<int64_t> dims = src.dims();
    for (size_t i = 0; i < axes.size(); ++i) {
        if (axes[i] < 0 || axes[i] >= src.rank()) refuse("axis {} is not one of {}", axes[i], to_string(src));
        if (i > 0 && axes[i] <= axes[i - 1]) refuse("axes {} do not ascend", attribute_text(axes));
    }
    for (size_t i = axes.size(); i-- > 0;) {
        const auto at = static_cast<size_t>(axes[i]);
        if (keep) {
            dims[at] = 1;
        } else {
            dims.erase(dims.begin() + axes[i]);
        }
    }
    return {dense_type(Shape(dims), inputs[0].dtype)};
}

void Reduce::differentiate(GradientBuilder& builder) const {
    const Shape src = builder.type(builder.input(0)).shape;  // a copy: emitting moves the types
    Shape kept = src;
    for (const int64_t axis : axes) kept[static_cast<int>(axis)] = 1;
    ValueId share = builder.gradient();
    if (mean) {
        const double factor = static_cast<double>(kept.elements()) / static_cast<double>(src.elements());
        share = builder.emit_one(Stage::BP, Scale{factor}, {share});
    }
    if (builder.type(share).shape != kept) share = builder.emit_one(Stage::BP, Reshape{kept}, {share});
    builder.contribute(0, builder.emit_one(Stage::BP, Expand{src}, {share}));
}

OperationCount Reduce::count(std::span<const ValueType> inputs, std::span<const ValueType>) const {
    return {0, 0, inputs[0].shape.elements()};
}

}  // namespace enmesh
