#include <algorithm>

#include "cpu/onednn.hpp"
#include "cpu/ops/runs.hpp"
#include "cpu/product.hpp"

namespace enmesh::cpu {
namespace {

struct Sizes {
    int64_t rows, c, k;
};

/// With an N:M operand, or products that are not this machine's own, a linear layer is a 1x1 convolution on
/// row-major matrices.
void add_product(Machine& machine, const Node& node, products::Stage stage, const Sizes& sizes,
                 ConvolutionCommand command) {
    command.stage = stage;
    command.conv = products::linear(sizes.rows, sizes.c, sizes.k);
    add_matrix_product(machine, node, command);
}

}  // namespace

void lower(Machine& machine, const Node& node, const Linear&) {
    const Shape src_shape = machine.graph().type(node.inputs[0]).shape;
    const ValueType& weights_type = machine.graph().type(node.inputs[1]);
    const Sizes z{row_count(src_shape), src_shape[-1], weights_type.shape[0]};
    const int src = machine.in_plain(node.inputs[0]), weights = machine.slot_of(node.inputs[1]);
    const int bias = node.inputs.size() == 3 ? machine.slot_of(node.inputs[2]) : -1;
    const int dst = machine.out(node.outputs[0]);
    if (!weights_type.dense() || machine.options().products != nullptr) {
        ConvolutionCommand command;
        command.src = src;
        command.weights = weights;
        command.bias = bias;
        command.out = dst;
        return add_product(machine, node, products::Stage::ff, z, command);
    }
    std::vector<int> reads{src, weights};
    if (bias >= 0) reads.push_back(bias);
    machine.add(
        node, Kind::FF, std::move(reads), {dst},
        [&machine, src, weights, bias, dst, z](const RunContext&) {
            float* const out = machine.f32(dst);
            if (bias >= 0) {
                const float* const values = machine.f32(bias);
                parallel_for(z.rows, 256, [&](int64_t begin, int64_t end) {
                    for (int64_t row = begin; row < end; ++row)
                        std::copy(values, values + z.k, out + row * z.k);
                });
            }
            gemm(false, true, z.rows, z.k, z.c, machine.f32(src), z.c, machine.f32(weights), z.c,
                 bias >= 0 ? 1.0F : 0.0F, out, z.k);
        },
        "oneDNN gemm");
}

void lower(Machine& machine, const Node& node, const LinearBackwardData&) {
    const ValueType &gradient_type = machine.graph().type(node.inputs[0]),
                    &weights_type = machine.graph().type(node.inputs[1]);
    const Sizes z{row_count(gradient_type.shape), weights_type.shape[1], weights_type.shape[0]};
    const int diff_dst =
        gradient_type.dense() ? machine.in_plain(node.inputs[0]) : machine.slot_of(node.inputs[0]);
    const int weights = machine.slot_of(node.inputs[1]);
    const int diff_src = machine.out(node.outputs[0]);
    if (!weights_type.dense() || !gradient_type.dense() || machine.options().products != nullptr) {
        ConvolutionCommand command;
        command.diff_dst = diff_dst;
        command.weights = weights;
        command.out = diff_src;
        return add_product(machine, node, products::Stage::bp, z, command);
    }
    machine.add(
        node, Kind::BP, {diff_dst, weights}, {diff_src},
        [&machine, diff_dst, weights, diff_src, z](const RunContext&) {
            gemm(false, false, z.rows, z.c, z.k, machine.f32(diff_dst), z.k, machine.f32(weights), z.c, 0.0F,
                 machine.f32(diff_src), z.c);
        },
        "oneDNN gemm");
}

void lower(Machine& machine, const Node& node, const LinearBackwardWeights&) {
    const ValueType& gradient_type = machine.graph().type(node.inputs[1]);
    const Shape src_shape = machine.graph().type(node.inputs[0]).shape;
    const Sizes z{row_count(src_shape), src_shape[-1], gradient_type.shape[-1]};
    const int src = machine.in_plain(node.inputs[0]);
    const int diff_dst =
        gradient_type.dense() ? machine.in_plain(node.inputs[1]) : machine.slot_of(node.inputs[1]);
    const int diff_weights = machine.out(node.outputs[0]);
    if (!gradient_type.dense() || machine.options().products != nullptr) {
        ConvolutionCommand command;
        command.src = src;
        command.diff_dst = diff_dst;
        command.out = diff_weights;
        return add_product(machine, node, products::Stage::wg, z, command);
    }
    machine.add(
        node, Kind::WG, {src, diff_dst}, {diff_weights},
        [&machine, src, diff_dst, diff_weights, z](const RunContext&) {
            gemm(true, false, z.k, z.c, z.rows, machine.f32(diff_dst), z.k, machine.f32(src), z.c, 0.0F,
                 machine.f32(diff_weights), z.c);
        },
        "oneDNN gemm");
}

}  // namespace enmesh::cpu
