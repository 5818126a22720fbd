#include "cpu/ops/strided.hpp"

namespace enmesh::cpu {
namespace {

/// dst of shape `kept` (src's rank or less, NumPy rules), or the same elements without the axes of extent 1.
void add_sum(Machine& machine, const Node& node, const Shape& kept, double factor) {
    const int src = machine.slot_of(node.inputs[0]);
    const Shape shape = machine.slot(src).type.shape;
    const Layout layout = machine.slot(src).layout;
    const int dst = machine.out(node.outputs[0]);
    const LaneSplit split(layout);
    const StridedSum sum(make_loops(shape, split,
                                    {split_strides(kept, plain_layout, shape.rank(), split),
                                     split_strides(shape, layout, shape.rank(), split)}),
                         factor);
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, sum](const RunContext&) {
        sum.run(machine.f32(src), machine.f32(dst));
    });
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const SumTo& op) {
    add_sum(machine, node, op.shape, 1);
}

template <>
void lower(Machine& machine, const Node& node, const Reduce& op) {
    const Shape& src = machine.graph().type(node.inputs[0]).shape;
    Shape kept = src;
    for (const int64_t axis : op.axes) kept[static_cast<int>(axis)] = 1;
    const double count = static_cast<double>(src.elements()) / static_cast<double>(kept.elements());
    add_sum(machine, node, kept, op.mean ? 1 / count : 1);
}

}  // namespace enmesh::cpu
