#include "cpu/onednn.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const MatMul& op) {
    const Layout layout = plain_layout.of(machine.float_element());
    const int a = machine.in(node.inputs[0], layout), b = machine.in(node.inputs[1], layout);
    const int dst = machine.out(node.outputs[0]);
    const Shape x = machine.slot(a).type.shape, y = machine.slot(b).type.shape,
                z = machine.graph().type(node.outputs[0]).shape;
    const int64_t m = z[-2], n = z[-1], k = op.transpose_a ? x[-2] : x[-1];
    const int64_t batch = z.elements() / (m * n), lda = x[-1], ldb = y[-1];
    const std::shared_ptr<const ProductProvider> provider = machine.options().products;
    // Not posed as a products::Problem: both operands are maps, nothing is prepared, and one batch entry is one
    // thread's work, so that there is one way to do it.
    const std::string kernel = provider != nullptr ? provider->name() : "oneDNN gemm";
    products::say_dispatch(fmt::format("{} {}", to_string(node.stage), node.layer), kernel);
    const Kind kind = node.stage == Stage::FF ? Kind::FF : Kind::BP;
    machine.add(
        node, kind, {a, b}, {dst},
        [&machine, a, b, dst, m, n, k, batch, lda, ldb, op, provider](const RunContext&) {
            const auto one = [&](int64_t i) {
                if (provider != nullptr) {
                    provider->multiply({op.transpose_a, op.transpose_b, m, n, k, machine.f32(a) + i * m * k,
                                        machine.f32(b) + i * k * n, machine.f32(dst) + i * m * n});
                    return;
                }
                gemm(op.transpose_a, op.transpose_b, m, n, k, machine.f32(a) + i * m * k, lda,
                     machine.f32(b) + i * k * n, ldb, 0.0F, machine.f32(dst) + i * m * n, n);
            };
            if (batch == 1) return one(0);
            parallel_for(batch, 1, [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) one(i);
            });
        },
        kernel);
}

}  // namespace enmesh::cpu
