#include "cpu/lowering.hpp"
#include "cpu/product.hpp"
#include "enmesh/cpu/kernels.hpp"

namespace enmesh::cpu {
namespace {

/// Whether a convolution reads the images themselves, which stay NCHW for oneDNN. It has no bfloat16 kernel
/// for so few channels, so that both maps of such a product are rounded only.
bool reads_images(const Machine& machine, ValueId src) {
    return machine.map_layout().lanes == Layout::Lanes::channels &&
           machine.graph().value(src).role == Role::input;
}

/// The layout in which a convolution reads its src: the network's, the images apart.
Layout src_layout(const Machine& machine, ValueId src) {
    if (reads_images(machine, src)) return plain_layout.of(machine.float_element());
    return machine.map_layout().of(machine.element());
}

int diff_dst_slot(Machine& machine, ValueId diff_dst, Layout::Element element) {
    if (!machine.graph().type(diff_dst).dense()) return machine.slot_of(diff_dst);
    return machine.in(diff_dst, machine.map_layout().of(element));
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const Conv2d& op) {
    const Graph& graph = machine.graph();
    const products::Conv conv =
        geometry(op, graph.type(node.inputs[0]).shape, graph.type(node.inputs[1]).shape);
    ProductCommand command;
    command.conv = conv;
    command.src = machine.in(node.inputs[0], src_layout(machine, node.inputs[0]));
    command.weights = machine.slot_of(node.inputs[1]);
    if (node.inputs.size() == 3) command.bias = machine.slot_of(node.inputs[2]);
    const Node* const relu = machine.relu_after(node);
    command.relu = relu != nullptr;
    command.out = machine.out(relu != nullptr ? relu->outputs[0] : node.outputs[0], machine.map_layout());
    add_product(machine, node, command);
}

template <>
void lower(Machine& machine, const Node& node, const Conv2dBackwardData& op) {
    const Graph& graph = machine.graph();
    const products::Conv conv = geometry(op.conv, op.src, graph.type(node.inputs[1]).shape);
    ProductCommand command;
    command.stage = products::Stage::bp;
    command.conv = conv;
    command.diff_dst = diff_dst_slot(machine, node.inputs[0], machine.element());
    command.weights = machine.slot_of(node.inputs[1]);
    command.out = machine.out(node.outputs[0], machine.map_layout());
    add_product(machine, node, command);
}

template <>
void lower(Machine& machine, const Node& node, const Conv2dBackwardWeights& op) {
    const Graph& graph = machine.graph();
    const products::Conv conv = geometry(op.conv, graph.type(node.inputs[0]).shape, op.weights);
    ProductCommand command;
    command.stage = products::Stage::wg;
    command.conv = conv;
    const bool images = reads_images(machine, node.inputs[0]);
    command.src = machine.in(node.inputs[0], src_layout(machine, node.inputs[0]));
    command.diff_dst =
        diff_dst_slot(machine, node.inputs[1], images ? machine.float_element() : machine.element());
    command.out = machine.out(node.outputs[0]);
    add_product(machine, node, command);
}

}  // namespace enmesh::cpu
