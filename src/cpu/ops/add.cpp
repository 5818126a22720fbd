#include <algorithm>

#include "cpu/ops/runs.hpp"
#include "cpu/ops/strided.hpp"

namespace enmesh::cpu {
namespace {

/// Blocked as soon as an operand of the whole shape is: what is broadcast onto it is read where it lies.
Layout result_layout(const Machine& machine, const Node& node) {
    const Shape& result = machine.graph().type(node.outputs[0]).shape;
    for (const ValueId input : node.inputs) {
        const Slot& slot = machine.slot(machine.slot_of(input));
        if (slot.type.shape == result && !slot.layout.plain()) return slot.layout;
    }
    return plain_layout;
}

/// A slot of the operand in `layout`, or plain if it is broadcast and lies in another one.
int operand_slot(Machine& machine, ValueId value, const Shape& result, Layout layout) {
    const int slot = machine.slot_of(value);
    if (machine.slot(slot).layout == layout) return slot;
    return machine.slot(slot).type.shape == result ? machine.in(value, layout) : machine.in_plain(value);
}

void add_binary(Machine& machine, const Node& node, StridedBinary::Function function) {
    const Shape result = machine.graph().type(node.outputs[0]).shape;
    const Layout layout = result_layout(machine, node);
    const int a = operand_slot(machine, node.inputs[0], result, layout);
    const int b = operand_slot(machine, node.inputs[1], result, layout);
    const int dst = machine.out(node.outputs[0], layout);
    const LaneSplit split(layout);
    const auto strides = [&](int slot) {
        return split_strides(machine.slot(slot).type.shape, machine.slot(slot).layout, result.rank(), split);
    };
    const StridedBinary binary(make_loops(result, split, {strides(dst), strides(a), strides(b)}), function);
    machine.add(node, Kind::other, {a, b}, {dst}, [&machine, a, b, dst, binary](const RunContext&) {
        binary.run(machine.f32(a), machine.f32(b), machine.f32(dst));
    });
}

}  // namespace

void lower(Machine& machine, const ReluGroup& group) {
    const Node &sum = machine.graph().node(group.source), &relu = machine.graph().node(group.relu);
    const int a = machine.slot_of(sum.inputs[0]);
    const Layout layout = machine.slot(a).layout;
    const int b = machine.in(sum.inputs[1], layout), dst = machine.out(relu.outputs[0], layout);
    const int64_t elements = machine.slot(a).type.shape.elements();
    machine.add(
        sum, Kind::other, {a, b}, {dst},
        [&machine, a, b, dst, elements](const RunContext&) {
            over_elements(elements, [&](int64_t begin, int64_t count) {
                constexpr int64_t piece = 2048;  // stays in L1 between the two
                for (int64_t at = begin; at < begin + count; at += piece) {
                    const int64_t length = std::min(piece, begin + count - at);
                    float* const to = machine.f32(dst) + at;
                    simd().add(machine.f32(a) + at, machine.f32(b) + at, to, length);
                    simd().relu(to, to, length);
                }
            });
        },
        "add+relu");
}

template <>
void lower(Machine& machine, const Node& node, const Add&) {
    add_binary(machine, node, simd().add);
}
template <>
void lower(Machine& machine, const Node& node, const Subtract&) {
    add_binary(machine, node, simd().subtract);
}
template <>
void lower(Machine& machine, const Node& node, const Multiply&) {
    add_binary(machine, node, simd().multiply);
}
template <>
void lower(Machine& machine, const Node& node, const Divide&) {
    add_binary(machine, node, simd().divide);
}

template <>
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
