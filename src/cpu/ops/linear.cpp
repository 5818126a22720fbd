#include "cpu/measure.hpp"
#include "cpu/onednn.hpp"
#include "cpu/ops/runs.hpp"
#include "cpu/permuted.hpp"
#include "cpu/product.hpp"

namespace enmesh::cpu {
namespace {

struct Sizes {
    int64_t rows, c, k;
};

/// FF, BP or WG of a linear layer as out = op(a) * op(b) (+ bias), by slots.
struct DenseCommand {
    MatrixShape shape;
    Kind kind = Kind::FF;
    int a = -1, b = -1, bias = -1, out = -1;
    bool b_is_weights = false;
};

std::vector<int> reads_of(const DenseCommand& c) {
    std::vector<int> reads{c.a, c.b};
    if (c.bias >= 0) reads.push_back(c.bias);
    return reads;
}

/// Weights that are not read as they are: in memory of their own, rounded after every update.
std::span<std::byte> keep_weights(Machine& machine, const DenseCommand& c, size_t width) {
    const bool copied = c.b_is_weights && machine.element() != Layout::Element::f32;
    return machine.keep(copied ? static_cast<size_t>(c.shape.n * c.shape.k) * width : 0);
}

void add_f32(Machine& machine, const Node& node, const DenseCommand& c) {
    const std::span<std::byte> kept = keep_weights(machine, c, sizeof(float));
    auto* const rounded = reinterpret_cast<float*>(kept.data());
    machine.add(
        node, c.kind, reads_of(c), {c.out},
        [&machine, c, rounded](const RunContext&) {
            const MatrixShape& s = c.shape;
            float* const out = machine.f32(c.out);
            if (c.bias >= 0) repeat_row(machine.f32(c.bias), out, s.m, s.n);
            gemm(s.transpose_a, s.transpose_b, s.m, s.n, s.k, machine.f32(c.a), s.transpose_a ? s.m : s.k,
                 rounded != nullptr ? rounded : machine.f32(c.b), s.transpose_b ? s.k : s.n,
                 c.bias >= 0 ? 1.0F : 0.0F, out, s.n);
        },
        "oneDNN gemm");
    if (rounded == nullptr) return;
    prepare_with(machine, c.b, [&machine, c, rounded] {
        over_elements(c.shape.n * c.shape.k, [&](int64_t at, int64_t count) {
            simd().round_to_bf16(machine.f32(c.b) + at, rounded + at, count);
        });
    });
}

/// FF or BP, seen as a convolution for packing and unpacking its weights.
products::Conv weights_conv(const DenseCommand& c) {
    const MatrixShape& s = c.shape;
    return c.kind == Kind::FF ? products::linear(s.m, s.k, s.n) : products::linear(s.m, s.n, s.k);
}
products::Stage stage_of(const DenseCommand& c) {
    return c.kind == Kind::FF ? products::Stage::ff : products::Stage::bp;
}

/// The weights, zeros filled in where they are N:M.
const float* dense_weights(Machine& machine, const DenseCommand& c) {
    if (machine.slot(c.b).type.dense()) return machine.f32(c.b);
    const std::span<float> filled_in =
        machine.rounding_memory().first(static_cast<size_t>(c.shape.n * c.shape.k));
    products::unpack_weights(weights_conv(c), stage_of(c), machine.packed(c.b).view(), filled_in);
    return filled_in.data();
}

/// The same product on random operands, for comparison with an N:M one; where weights change, filling in and
/// rounding them included.
std::function<void()> dense_rival(const Machine& machine, const DenseCommand& c) {
    struct Operands {
        products::Packed packed;
        Buffer weights, a, b, bias, out, workspace;
    };
    const std::shared_ptr<DnnlMatmul> plan = plan_matmul(c.shape, c.bias >= 0);
    const MatrixShape& s = c.shape;
    const auto operands = std::make_shared<Operands>();
    operands->a = random_bf16(s.m * s.k);
    operands->b = random_bf16(s.n * s.k);
    operands->bias = random_floats(s.n);
    operands->out = Buffer(static_cast<size_t>(s.m * s.n) * sizeof(float));
    operands->workspace = Buffer(plan->workspace_bytes());
    operands->weights = random_floats(s.n * s.k);
    const products::Conv conv = weights_conv(c);
    const products::Stage stage = stage_of(c);
    operands->packed = products::pack_weights(conv, stage, machine.slot(c.b).type.nm()->pattern,
                                              operands->weights.as<float>());
    const bool weights_change = machine.step().trains();
    return [plan, operands, conv, stage, weights_change] {
        if (weights_change) {
            const std::span<float> weights = operands->weights.as<float>();
            products::unpack_weights(conv, stage, operands->packed.view(), weights);
            over_elements(static_cast<int64_t>(weights.size()), [&](int64_t at, int64_t count) {
                simd().to_bf16(weights.data() + at, operands->b.as<uint16_t>().data() + at, count);
            });
        }
        plan->run(operands->a.as<uint16_t>().data(), operands->b.as<uint16_t>().data(),
                  operands->bias.as<float>().data(), operands->out.as<float>().data(),
                  operands->workspace.as<std::byte>().data());
    };
}

void add_bf16(Machine& machine, const Node& node, const DenseCommand& c) {
    const std::shared_ptr<DnnlMatmul> plan = plan_matmul(c.shape, c.bias >= 0);
    const size_t workspace = machine.book(plan->workspace_bytes());
    const std::span<std::byte> kept = keep_weights(machine, c, sizeof(uint16_t));
    auto* const weights = reinterpret_cast<uint16_t*>(kept.data());
    machine.add(
        node, c.kind, reads_of(c), {c.out},
        [&machine, c, plan, weights, workspace](const RunContext&) {
            plan->run(machine.bf16(c.a), weights != nullptr ? weights : machine.bf16(c.b),
                      c.bias >= 0 ? machine.f32(c.bias) : nullptr, machine.f32(c.out),
                      machine.workspace(workspace));
        },
        plan->kernel());
    if (weights == nullptr) return;
    const bool filled_in = !machine.slot(c.b).type.dense();
    machine.last_command().filled_in = filled_in;
    if (filled_in) machine.reserve_rounding(c.shape.n * c.shape.k);
    prepare_with(machine, c.b, [&machine, c, weights] {
        const float* const floats = dense_weights(machine, c);
        over_elements(c.shape.n * c.shape.k,
                      [&](int64_t at, int64_t count) { simd().to_bf16(floats + at, weights + at, count); });
    });
}

/// With an N:M operand, or products that are not this machine's own, a linear layer is a 1x1 convolution on
/// row-major matrices.
void add_sparse(Machine& machine, const Node& node, products::Stage stage, const Sizes& sizes,
                const DenseCommand& dense) {
    ConvolutionCommand command;
    command.stage = stage;
    command.conv = products::linear(sizes.rows, sizes.c, sizes.k);
    command.out = dense.out;
    command.bias = dense.bias;
    (stage == products::Stage::ff ? command.src : command.diff_dst) = dense.a;
    (dense.b_is_weights ? command.weights : command.src) = dense.b;
    if (machine.element() != Layout::Element::bf16) return add_matrix_product(machine, node, command);
    if (!add_permuted(machine, node, command, [&] { return dense_rival(machine, dense); }))
        add_bf16(machine, node, dense);
}

void add_linear(Machine& machine, const Node& node, products::Stage stage, const Sizes& sizes,
                const DenseCommand& c) {
    const bool sparse = !machine.slot(c.a).type.dense() || !machine.slot(c.b).type.dense();
    if (sparse || machine.options().products != nullptr) return add_sparse(machine, node, stage, sizes, c);
    if (machine.element() == Layout::Element::bf16) return add_bf16(machine, node, c);
    add_f32(machine, node, c);
}

/// A map or gradient as the product reads it.
int operand(Machine& machine, ValueId value) {
    if (!machine.graph().type(value).dense()) return machine.slot_of(value);
    return machine.in(value, plain_layout.of(machine.element()));
}

}  // namespace

void lower(Machine& machine, const Node& node, const Linear&) {
    const Shape src_shape = machine.graph().type(node.inputs[0]).shape;
    const Sizes z{row_count(src_shape), src_shape[-1], machine.graph().type(node.inputs[1]).shape[0]};
    const int src = operand(machine, node.inputs[0]), weights = machine.slot_of(node.inputs[1]);
    const int bias = node.inputs.size() == 3 ? machine.slot_of(node.inputs[2]) : -1;
    const int dst = machine.out(node.outputs[0]);
    add_linear(machine, node, products::Stage::ff, z,
               {{false, true, z.rows, z.k, z.c}, Kind::FF, src, weights, bias, dst, true});
}

void lower(Machine& machine, const Node& node, const LinearBackwardData&) {
    const Shape diff_dst_shape = machine.graph().type(node.inputs[0]).shape;
    const Sizes z{row_count(diff_dst_shape), machine.graph().type(node.inputs[1]).shape[1],
                  diff_dst_shape[-1]};
    const int diff_dst = operand(machine, node.inputs[0]), weights = machine.slot_of(node.inputs[1]);
    const int diff_src = machine.out(node.outputs[0]);
    add_linear(machine, node, products::Stage::bp, z,
               {{false, false, z.rows, z.c, z.k}, Kind::BP, diff_dst, weights, -1, diff_src, true});
}

void lower(Machine& machine, const Node& node, const LinearBackwardWeights&) {
    const Shape src_shape = machine.graph().type(node.inputs[0]).shape;
    const Sizes z{row_count(src_shape), src_shape[-1], machine.graph().type(node.inputs[1]).shape[-1]};
    const int src = operand(machine, node.inputs[0]), diff_dst = operand(machine, node.inputs[1]);
    const int diff_weights = machine.out(node.outputs[0]);
    add_linear(machine, node, products::Stage::wg, z,
               {{true, false, z.k, z.c, z.rows}, Kind::WG, diff_dst, src, -1, diff_weights});
}

}  // namespace enmesh::cpu
