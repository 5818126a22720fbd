#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Reshape::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    for (const int64_t dim : shape) {
        if (dim < 0) refuse("target shape {} has a negative extent", to_string(shape));
    }
    if (shape.elements() != inputs[0].shape.elements()) {
        refuse("{} does not hold the elements of {}", to_string(shape), to_string(inputs[0].shape));
    }
    return {dense_type(shape, inputs[0].dtype)};
}

void Reshape::differentiate(GradientBuilder& builder) const {
    const Reshape back{builder.type(builder.input(0)).shape};
    builder.contribute(0, builder.emit_one(Stage::BP, back, {builder.gradient()}));
}

}  // namespace enmesh
