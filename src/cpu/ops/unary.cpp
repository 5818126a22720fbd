#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const Unary& op) {
    const int src = machine.slot_of(node.inputs[0]);
    const int dst = machine.out(node.outputs[0], machine.slot(src).layout);
    const int64_t elements = machine.slot(src).type.shape.elements();
    const float a = static_cast<float>(op.a), b = static_cast<float>(op.b);
    const UnaryKind kind = op.kind;
    machine.add(node, Kind::other, {src}, {dst},
                [&machine, src, dst, elements, kind, a, b](const RunContext&) {
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        simd().unary(kind, a, b, machine.f32(src) + at, machine.f32(dst) + at, count);
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const UnaryBackward& op) {
    const int src = machine.slot_of(node.inputs[0]);
    const Layout layout = machine.slot(src).layout;
    const int diff_dst = machine.in(node.inputs[1], layout), diff_src = machine.out(node.outputs[0], layout);
    const int64_t elements = machine.slot(src).type.shape.elements();
    const float a = static_cast<float>(op.a), b = static_cast<float>(op.b);
    const UnaryKind kind = op.kind;
    machine.add(node, Kind::other, {src, diff_dst}, {diff_src},
                [&machine, src, diff_dst, diff_src, elements, kind, a, b](const RunContext&) {
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        simd().unary_backward(kind, a, b, machine.f32(src) + at, machine.f32(diff_dst) + at,
                                              machine.f32(diff_src) + at, count);
                    });
                });
}

}  // namespace enmesh::cpu
