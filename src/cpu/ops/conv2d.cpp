#include "cpu/lowering.hpp"
#include "cpu/onednn.hpp"
#include "cpu/product.hpp"

namespace enmesh::cpu {
namespace {

/// The layout in which a convolution reads its src: the network's, but the images themselves may stay NCHW
/// for oneDNN.
Layout src_layout(const Machine& machine, ValueId src) {
    const Layout layout = machine.map_layout();
    const bool network_input = machine.graph().value(src).role == Role::input;
    return layout.lanes == Layout::Lanes::channels && network_input ? plain_layout : layout;
}

}  // namespace

void lower(Machine& machine, const Node& node, const Conv2d& op) {
    const Graph& graph = machine.graph();
    const products::Conv conv =
        geometry(op, graph.type(node.inputs[0]).shape, graph.type(node.inputs[1]).shape);
    const Layout layout = src_layout(machine, node.inputs[0]);
    ConvolutionCommand command;
    command.conv = conv;
    command.src_layout = layout;
    command.src = machine.in(node.inputs[0], layout);
    command.weights = machine.slot_of(node.inputs[1]);
    if (node.inputs.size() == 3) command.bias = machine.slot_of(node.inputs[2]);
    const Node* const relu = machine.relu_after(node);
    command.relu = relu != nullptr;
    command.out = machine.out(relu != nullptr ? relu->outputs[0] : node.outputs[0], machine.map_layout());
    add_convolution(machine, node, command);
}

void lower(Machine& machine, const Node& node, const Conv2dBackwardData& op) {
    const Graph& graph = machine.graph();
    const products::Conv conv = geometry(op.conv, op.src, graph.type(node.inputs[1]).shape);
    ConvolutionCommand command;
    command.stage = products::Stage::bp;
    command.conv = conv;
    command.src_layout = machine.map_layout();
    command.diff_dst = graph.type(node.inputs[0]).dense() ? machine.in(node.inputs[0], machine.map_layout())
                                                          : machine.slot_of(node.inputs[0]);
    command.weights = machine.slot_of(node.inputs[1]);
    command.out = machine.out(node.outputs[0], machine.map_layout());
    add_convolution(machine, node, command);
}

void lower(Machine& machine, const Node& node, const Conv2dBackwardWeights& op) {
    const Graph& graph = machine.graph();
    const products::Conv conv = geometry(op.conv, graph.type(node.inputs[0]).shape, op.weights);
    ConvolutionCommand command;
    command.stage = products::Stage::wg;
    command.conv = conv;
    command.src_layout = src_layout(machine, node.inputs[0]);
    command.src = machine.in(node.inputs[0], command.src_layout);
    command.diff_dst = graph.type(node.inputs[1]).dense() ? machine.in(node.inputs[1], machine.map_layout())
                                                          : machine.slot_of(node.inputs[1]);
    command.out = machine.out(node.outputs[0]);
    add_convolution(machine, node, command);
}

}  // namespace enmesh::cpu
