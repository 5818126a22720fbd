#include "onnx/import/converter.hpp"

namespace enmesh::onnx {

Graph prune_graph(const Graph& graph) {
    std::vector<bool> needed(graph.values().size(), false);
    for (const ValueId output : graph.outputs) needed[static_cast<size_t>(output.index)] = true;
    for (size_t i = graph.nodes().size(); i-- > 0;) {
        const Node& node = graph.nodes()[i];
        bool live = false;
        for (const ValueId output : node.outputs) live = live || needed[static_cast<size_t>(output.index)];
        if (!live) continue;
        for (const ValueId value : node.inputs) needed[static_cast<size_t>(value.index)] = true;
        for (const ValueId value : node.outputs) needed[static_cast<size_t>(value.index)] = true;
    }
    Graph result;
    std::vector<ValueId> mapped(graph.values().size());
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        if (value.role == Role::input) mapped[i] = result.add_input(value.name, value.type);
        if (!needed[i]) continue;
        if (value.role == Role::parameter)
            mapped[i] = result.add_parameter(value.name, value.type.shape, value.initializer, value.decayed);
        if (value.role == Role::state)
            mapped[i] = result.add_state(value.name, value.type, value.initializer);
        if (value.role == Role::constant)
            mapped[i] = result.add_constant(value.name, value.initializer.given);
    }
    for (const Node& node : graph.nodes()) {
        if (!needed[static_cast<size_t>(node.outputs[0].index)]) continue;
        std::vector<ValueId> inputs;
        for (const ValueId input : node.inputs) inputs.push_back(mapped[static_cast<size_t>(input.index)]);
        const std::vector<ValueId> outputs =
            result.add(node.operation, std::move(inputs), node.layer, node.stage);
        for (size_t i = 0; i < outputs.size(); ++i)
            mapped[static_cast<size_t>(node.outputs[i].index)] = outputs[i];
    }
    for (const ValueId output : graph.outputs)
        result.outputs.push_back(mapped[static_cast<size_t>(output.index)]);
    return result;
}

}  // namespace enmesh::onnx
