#include "graph/ops/common.hpp"

namespace enmesh {

std::string to_string(Selection selection) {
    constexpr std::array names = {"magnitude", "mask", "mvue", "transposable"};
    return names[static_cast<size_t>(selection)];
}

std::vector<ValueType> PackNm::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 2);
    check_pattern(pattern);
    if (selection == Selection::transposable)
        refuse("a transposable mask is selected first, then packed by mask");
    if ((selection == Selection::mask) != (inputs.size() == 2))
        refuse("a mask is needed for, and only for, selection by mask");
    if (inputs.size() == 2) require_same_shape(inputs[0], inputs[1], "src and mask");
    ValueType packed = inputs[0];
    packed.sparsity = NmSparsity{pattern, axis};
    return {packed};
}

std::vector<ValueType> UnpackNm::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 1, 1);
    if (inputs[0].nm() == nullptr) refuse("src is dense, an N:M operand was expected");
    return {dense_type(inputs[0].shape, inputs[0].dtype)};
}

}  // namespace enmesh
