#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> CrossEntropy::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_rank(inputs[0], 2, "logits");
    require_shape(inputs[1], Shape{inputs[0].shape[0]}, "labels");
    if (inputs[1].dtype != DType::i32) refuse("labels are {}, i32 expected", to_string(inputs[1].dtype));
    if (!(label_smoothing >= 0 && label_smoothing < 1))
        refuse("label smoothing {} is not in [0, 1)", label_smoothing);
    return {dense_type(Shape{}, DType::f32), dense_type(inputs[0].shape, DType::f32)};
}

void CrossEntropy::differentiate(GradientBuilder& builder) const {
    const CrossEntropyBackward rule{label_smoothing};
    builder.contribute(0, builder.emit_one(Stage::BP, rule, {builder.output(1), builder.input(1)}));
}

std::vector<ValueType> CrossEntropyBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    return {inputs[0]};
}

}  // namespace enmesh
