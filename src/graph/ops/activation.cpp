#include "graph/ops/common.hpp"

namespace enmesh {
namespace {

std::vector<ValueType> same_as_input(std::span<const ValueType> inputs) {
    require_inputs(inputs, 1, 1);
    return {inputs[0]};
}

std::vector<ValueType> gradient_type(std::span<const ValueType> inputs, std::string_view what) {
    require_inputs(inputs, 2, 2);
    require_same_shape(inputs[0], inputs[1], what);
    return {inputs[1]};
}

}  // namespace

std::vector<ValueType> Relu::infer(std::span<const ValueType> inputs) const { return same_as_input(inputs); }

void Relu::differentiate(GradientBuilder& builder) const {
    builder.contribute(0,
                       builder.emit_one(Stage::BP, ReluBackward{}, {builder.output(0), builder.gradient()}));
}

std::vector<ValueType> ReluBackward::infer(std::span<const ValueType> inputs) const {
    return gradient_type(inputs, "dst and diff_dst");
}

std::vector<ValueType> Gelu::infer(std::span<const ValueType> inputs) const { return same_as_input(inputs); }

void Gelu::differentiate(GradientBuilder& builder) const {
    builder.contribute(0,
                       builder.emit_one(Stage::BP, GeluBackward{}, {builder.input(0), builder.gradient()}));
}

std::vector<ValueType> GeluBackward::infer(std::span<const ValueType> inputs) const {
    return gradient_type(inputs, "src and diff_dst");
}

}  // namespace enmesh
