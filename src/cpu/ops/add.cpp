#include "cpu/ops/broadcast.hpp"
#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {
namespace {

/// Equal shapes in any layout, or NumPy broadcasting on plain values.
void add_binary(Machine& machine, const Node& node, void (*f)(const float*, const float*, float*, int64_t),
                float (*one)(float, float)) {
    const Shape &x = machine.graph().type(node.inputs[0]).shape,
                &y = machine.graph().type(node.inputs[1]).shape;
    if (x == y) {
        const int a = machine.slot_of(node.inputs[0]);
        const Layout layout = machine.slot(a).layout;
        const int b = machine.in(node.inputs[1], layout);
        const int dst = machine.out(node.outputs[0], layout);
        const int64_t elements = x.elements();
        machine.add(node, Kind::other, {a, b}, {dst}, [&machine, a, b, dst, elements, f](const RunContext&) {
            over_elements(elements, [&](int64_t at, int64_t count) {
                f(machine.f32(a) + at, machine.f32(b) + at, machine.f32(dst) + at, count);
            });
        });
        return;
    }
    const int a = machine.in_plain(node.inputs[0]), b = machine.in_plain(node.inputs[1]);
    const int dst = machine.out(node.outputs[0]);
    const Shape result = machine.graph().type(node.outputs[0]).shape;
    const BroadcastRows rows = broadcast_rows(result, x, y);
    machine.add(node, Kind::other, {a, b}, {dst}, [&machine, a, b, dst, rows, f, one](const RunContext&) {
        parallel_for(rows.rows, 64, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                const float* const p = machine.f32(a) + rows.offset_a(row);
                const float* const q = machine.f32(b) + rows.offset_b(row);
                float* const r = machine.f32(dst) + row * rows.length;
                if (rows.step_a == 1 && rows.step_b == 1) {
                    f(p, q, r, rows.length);
                } else {
                    for (int64_t i = 0; i < rows.length; ++i)
                        r[i] = one(p[i * rows.step_a], q[i * rows.step_b]);
                }
            }
        });
    });
}

}  // namespace

void lower(Machine& machine, const Node& node, const Add&) {
    add_binary(machine, node, simd().add, [](float a, float b) { return a + b; });
}

void lower(Machine& machine, const Node& node, const Multiply&) {
    add_binary(machine, node, simd().multiply, [](float a, float b) { return a * b; });
}

void lower(Machine& machine, const Node& node, const Scale& op) {
    const int src = machine.slot_of(node.inputs[0]);
    const int dst = machine.out(node.outputs[0], machine.slot(src).layout);
    const int64_t elements = machine.slot(src).type.shape.elements();
    const float factor = static_cast<float>(op.factor);
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, elements, factor](const RunContext&) {
        over_elements(elements, [&](int64_t at, int64_t count) {
            simd().scale(machine.f32(src) + at, factor, machine.f32(dst) + at, count);
        });
    });
}

}  // namespace enmesh::cpu
