#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Dropout::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    if (!(probability >= 0 && probability < 1)) refuse("probability {} is not in [0, 1)", probability);
    return {inputs[0]};
}

void Dropout::differentiate(GradientBuilder& builder) const {
    builder.contribute(0, builder.emit_one(Stage::BP, *this, {builder.gradient()}));
}

}  // namespace enmesh
