#include "enmesh/graph/rewriter.hpp"

#include <utility>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

ValueId add(Graph& graph, const Value& value) {
    switch (value.role) {
        case Role::input:
            return graph.add_input(value.name, value.type);
        case Role::parameter:
            return graph.add_parameter(value.name, value.type.shape, value.initializer, value.decayed);
        case Role::state:
            return graph.add_state(value.name, value.type, value.initializer);
        case Role::constant:
            return graph.add_constant(value.name, value.initializer.given);
        case Role::result:
            break;
    }
    ENMESH_ASSERT(false);
    return {};
}

}  // namespace

std::vector<ValueId> GraphRewriter::mapped_inputs(const Node& node) const {
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(mapped(input));
    return inputs;
}

void GraphRewriter::copy(ValueId old, const Value& value) { map(old, add(to_, value)); }

void GraphRewriter::copy(const Node& old, Operation operation, std::vector<ValueId> inputs) {
    const std::vector<ValueId> outputs =
        to_.add(std::move(operation), std::move(inputs), old.layer, old.stage);
    for (size_t i = 0; i < outputs.size(); ++i) map(old.outputs[i], outputs[i]);
}

}  // namespace enmesh
