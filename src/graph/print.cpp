#include <algorithm>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/graph.hpp"

namespace enmesh {
namespace {

std::string value_list(const Graph& graph, std::span<const ValueId> values, bool with_types) {
    std::string text;
    for (const ValueId id : values) {
        text += text.empty() ? "" : ", ";
        text += graph.value(id).name;
        if (with_types) text += ": " + to_string(graph.type(id));
    }
    return text;
}

std::string escaped(std::string text) {
    std::string result;
    for (const char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result;
}

}  // namespace

std::string print(const Graph& graph) {
    size_t layer_width = 5, operation_width = 9;
    for (const Node& node : graph.nodes()) {
        layer_width = std::max(layer_width, node.layer.size());
        operation_width = std::max(operation_width, name(node.operation).size());
    }
    std::string text;
    for (const Node& node : graph.nodes()) {
        std::string attributes = to_string(node.operation).substr(name(node.operation).size());
        text += fmt::format("{}  {:<{}}  {:<{}} {} -> {}{}\n", to_string(node.stage), node.layer, layer_width,
                            name(node.operation), operation_width, value_list(graph, node.inputs, false),
                            value_list(graph, node.outputs, true),
                            attributes.empty() ? "" : "  [" + attributes.substr(1) + "]");
    }
    return text;
}

std::string dot(const Graph& graph) {
    constexpr std::array colours = {"#cfe8ff", "#ffe0c2", "#d8f5d0", "#eadcff"};
    std::string text =
        "digraph step {\n  rankdir=TB;\n  node [shape=box, style=filled, fontname=\"Helvetica\"];\n";
    for (size_t i = 0; i < graph.nodes().size(); ++i) {
        const Node& node = graph.nodes()[i];
        text += fmt::format("  n{} [label=\"{}\\n{} {}\", fillcolor=\"{}\"];\n", i, escaped(node.layer),
                            to_string(node.stage), escaped(to_string(node.operation)),
                            colours[static_cast<size_t>(node.stage)]);
    }
    for (size_t v = 0; v < graph.values().size(); ++v) {
        const Value& value = graph.values()[v];
        if (value.role == Role::result) continue;
        text += fmt::format("  v{} [label=\"{}\\n{}\", shape=ellipse, fillcolor=\"#ffffff\"];\n", v,
                            escaped(value.name), escaped(to_string(value.type)));
    }
    for (size_t i = 0; i < graph.nodes().size(); ++i) {
        for (const ValueId input : graph.nodes()[i].inputs) {
            const Value& value = graph.value(input);
            const std::string from =
                value.producer >= 0 ? fmt::format("n{}", value.producer) : fmt::format("v{}", input.index);
            text += fmt::format("  {} -> n{} [label=\"{}\"];\n", from, i,
                                value.producer >= 0 ? escaped(to_string(value.type)) : "");
        }
    }
    return text + "}\n";
}

}  // namespace enmesh
