#include <array>

#include "graph/ops/common.hpp"

namespace enmesh {

std::string to_string(UnaryKind kind) {
    constexpr std::array names = {"none", "clip", "sigmoid",    "hard_sigmoid", "hard_swish",
                                  "silu", "tanh", "leaky_relu", "gelu_tanh",    "erf",
                                  "exp",  "log",  "sqrt",       "power"};
    return names[static_cast<size_t>(kind)];
}

std::vector<ValueType> Unary::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    if (kind == UnaryKind::none) refuse("no kind is chosen");
    if (kind == UnaryKind::clip && !(a <= b)) refuse("clip from {} to {} is empty", a, b);
    return {inputs[0]};
}

void Unary::differentiate(GradientBuilder& builder) const {
    const UnaryBackward rule{kind, a, b};
    builder.contribute(0, builder.emit_one(Stage::BP, rule, {builder.input(0), builder.gradient()}));
}

std::vector<ValueType> UnaryBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_same_shape(inputs[0], inputs[1], "src and diff_dst");
    return {inputs[1]};
}

}  // namespace enmesh
