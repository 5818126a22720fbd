#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> SelectMask::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    check_pattern(pattern);
    require_same_shape(inputs[0], inputs[1], "weights and mask");
    if (selection != Selection::magnitude && selection != Selection::transposable) {
        refuse("a mask is selected by magnitude or as transposable");
    }
    return {inputs[1]};
}

std::vector<ValueType> ApplyMask::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_same_shape(inputs[0], inputs[1], "src and mask");
    return {inputs[0]};
}

std::vector<ValueType> SrDecay::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 4, 4);
    require_same_shape(inputs[0], inputs[1], "gradient and weights");
    if (inputs[2].nm() == nullptr) refuse("the third input is dense, an N:M operand was expected");
    return {inputs[0]};
}

}  // namespace enmesh
