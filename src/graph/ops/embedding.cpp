#include "graph/ops/common.hpp"

namespace enmesh {

std::vector<ValueType> Embedding::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    require_rank(inputs[1], 2, "table");
    if (inputs[0].dtype != DType::i32) refuse("indices are {}, i32 expected", to_string(inputs[0].dtype));
    std::vector<int64_t> dims = inputs[0].shape.dims();
    dims.push_back(inputs[1].shape[1]);
    return {dense_type(Shape(dims), inputs[1].dtype)};
}

void Embedding::differentiate(GradientBuilder& builder) const {
    if (!builder.wanted(1)) return;
    const EmbeddingBackward rule{builder.type(builder.input(1)).shape};
    builder.contribute(1, builder.emit_one(Stage::WG, rule, {builder.input(0), builder.gradient()}));
}

std::vector<ValueType> EmbeddingBackward::infer(std::span<const ValueType> inputs) const {
    require_inputs(inputs, 2, 2);
    return {dense_type(table, inputs[1].dtype)};
}

}  // namespace enmesh
