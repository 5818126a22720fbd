#include "cpu/ops/runs.hpp"
#include "cpu/product.hpp"

namespace enmesh::cpu {
namespace {

/// A map or gradient as the product reads it.
int operand(Machine& machine, ValueId value) {
    if (!machine.graph().type(value).dense()) return machine.slot_of(value);
    return machine.in(value, plain_layout.of(machine.element()));
}

/// The geometry of rows of `c` inputs and `k` outputs; the shape is that of a map.
products::Conv rows_of(const Shape& map, int64_t c, int64_t k) {
    return products::linear(row_count(map), c, k);
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const Linear&) {
    const Shape src = machine.graph().type(node.inputs[0]).shape;
    ProductCommand command{.linear = true};
    command.conv = rows_of(src, src[-1], machine.graph().type(node.inputs[1]).shape[0]);
    command.src = operand(machine, node.inputs[0]);
    command.weights = machine.slot_of(node.inputs[1]);
    if (node.inputs.size() == 3) command.bias = machine.slot_of(node.inputs[2]);
    command.out = machine.out(node.outputs[0]);
    add_product(machine, node, command);
}

template <>
void lower(Machine& machine, const Node& node, const LinearBackwardData&) {
    const Shape diff_dst = machine.graph().type(node.inputs[0]).shape;
    ProductCommand command{.stage = products::Stage::bp, .linear = true};
    command.conv = rows_of(diff_dst, machine.graph().type(node.inputs[1]).shape[1], diff_dst[-1]);
    command.diff_dst = operand(machine, node.inputs[0]);
    command.weights = machine.slot_of(node.inputs[1]);
    command.out = machine.out(node.outputs[0]);
    add_product(machine, node, command);
}

template <>
void lower(Machine& machine, const Node& node, const LinearBackwardWeights&) {
    const Shape src = machine.graph().type(node.inputs[0]).shape;
    ProductCommand command{.stage = products::Stage::wg, .linear = true};
    command.conv = rows_of(src, src[-1], machine.graph().type(node.inputs[1]).shape[-1]);
    command.src = operand(machine, node.inputs[0]);
    command.diff_dst = operand(machine, node.inputs[1]);
    command.out = machine.out(node.outputs[0]);
    add_product(machine, node, command);
}

}  // namespace enmesh::cpu
