#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {
namespace {

/// dst = f(src) element by element, in whatever layout src has.
void add_map(Machine& machine, const Node& node, void (*f)(const float*, float*, int64_t)) {
    const int src = machine.slot_of(node.inputs[0]);
    const int dst = machine.out(node.outputs[0], machine.slot(src).layout);
    const int64_t elements = machine.slot(src).type.shape.elements();
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, elements, f](const RunContext&) {
        over_elements(elements, [&](int64_t at, int64_t count) {
            f(machine.f32(src) + at, machine.f32(dst) + at, count);
        });
    });
}

/// diff = f(kept, diff_dst), in the layout of the kept value.
void add_backward(Machine& machine, const Node& node,
                  void (*f)(const float*, const float*, float*, int64_t)) {
    const int kept = machine.slot_of(node.inputs[0]);
    const Layout layout = machine.slot(kept).layout;
    const int gradient = machine.in(node.inputs[1], layout);
    const int dst = machine.out(node.outputs[0], layout);
    const int64_t elements = machine.slot(kept).type.shape.elements();
    machine.add(node, Kind::other, {kept, gradient}, {dst},
                [&machine, kept, gradient, dst, elements, f](const RunContext&) {
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        f(machine.f32(kept) + at, machine.f32(gradient) + at, machine.f32(dst) + at, count);
                    });
                });
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const Relu&) {
    add_map(machine, node, simd().relu);
}
template <>
void lower(Machine& machine, const Node& node, const ReluBackward&) {
    add_backward(machine, node, simd().relu_backward);
}
template <>
void lower(Machine& machine, const Node& node, const Gelu&) {
    add_map(machine, node, simd().gelu);
}
template <>
void lower(Machine& machine, const Node& node, const GeluBackward&) {
    add_backward(machine, node, simd().gelu_backward);
}

}  // namespace enmesh::cpu
