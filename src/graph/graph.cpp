#include "enmesh/graph/graph.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "enmesh/base/error.hpp"
#include "enmesh/base/fnv.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/graph/rewriter.hpp"

namespace enmesh {

std::string to_string(Role role) {
    constexpr std::array names = {"input", "parameter", "state", "constant", "result"};
    return names[static_cast<size_t>(role)];
}

ValueId Graph::add_value(Value value) {
    const ValueId id{static_cast<int>(values_.size())};
    const auto [place, inserted] = by_name_.emplace(value.name, id.index);
    if (!inserted) refuse("two values are called '{}'", value.name);
    values_.push_back(std::move(value));
    return id;
}

ValueId Graph::add_input(std::string name, ValueType type) {
    return add_value(
        {.name = std::move(name), .type = std::move(type), .role = Role::input, .initializer = {}});
}

ValueId Graph::add_parameter(std::string name, Shape shape, Initializer initializer, bool decayed) {
    return add_value({.name = std::move(name),
                      .type = {std::move(shape), DType::f32, {}},
                      .role = Role::parameter,
                      .initializer = std::move(initializer),
                      .decayed = decayed});
}

ValueId Graph::add_state(std::string name, ValueType type, Initializer initializer) {
    return add_value({.name = std::move(name),
                      .type = std::move(type),
                      .role = Role::state,
                      .initializer = std::move(initializer)});
}

ValueId Graph::add_constant(std::string name, std::shared_ptr<const Tensor> tensor) {
    ValueType type{tensor->shape(), tensor->dtype(), {}};
    return add_value({.name = std::move(name),
                      .type = std::move(type),
                      .role = Role::constant,
                      .initializer = {Initializer::Kind::given, 0, std::move(tensor)}});
}

std::vector<ValueId> Graph::add(Operation operation, std::vector<ValueId> inputs, std::string layer,
                                Stage stage) {
    std::vector<ValueType> input_types;
    for (const ValueId input : inputs) {
        ENMESH_ASSERT(input.valid() && input.index < static_cast<int>(values_.size()));
        input_types.push_back(type(input));
    }
    std::vector<ValueType> output_types;
    try {
        output_types = infer(operation, input_types);
    } catch (const Error& error) {
        refuse("layer '{}' ({}): {}", layer, name(operation), error.what());
    }
    Node node{std::move(operation), std::move(layer), stage, std::move(inputs), {}};
    for (ValueType& output : output_types) {
        const std::string value_name = fmt::format("%{}", values_.size());
        node.outputs.push_back(add_value({.name = value_name,
                                          .type = std::move(output),
                                          .role = Role::result,
                                          .initializer = {},
                                          .producer = static_cast<int>(nodes_.size())}));
    }
    nodes_.push_back(std::move(node));
    return nodes_.back().outputs;
}

ValueId Graph::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? ValueId{} : ValueId{found->second};
}

std::vector<std::vector<int>> Graph::consumers() const {
    std::vector<std::vector<int>> result(values_.size());
    for (size_t i = 0; i < nodes_.size(); ++i) {
        for (const ValueId input : nodes_[i].inputs)
            result[static_cast<size_t>(input.index)].push_back(static_cast<int>(i));
    }
    return result;
}

Graph inference_graph(const Graph& graph) {
    Graph result;
    GraphRewriter rewriter(graph, result);
    rewriter.run([&](const Node& node) {
        if (node.operation.is<Dropout>()) {
            rewriter.map(node.outputs[0], rewriter.mapped(node.inputs[0]));
            return;
        }
        Operation operation = node.operation;
        if (BatchNorm* const norm = std::get_if<BatchNorm>(&operation.attributes)) norm->training = false;
        rewriter.copy(node, std::move(operation), rewriter.mapped_inputs(node));
    });
    return result;
}

Tensor initial_value(const Value& value, uint64_t seed) {
    const Initializer& initializer = value.initializer;
    if (initializer.kind == Initializer::Kind::given) return initializer.given->clone();
    Tensor tensor(value.type.shape, value.type.dtype);
    if (initializer.kind == Initializer::Kind::zeros) return tensor;
    if (value.type.dtype != DType::f32)
        refuse("'{}': only f32 values have an initial distribution", value.name);
    Random random(seed, fnv1a(value.name));
    for (float& element : tensor.f32()) {
        switch (initializer.kind) {
            case Initializer::Kind::constant:
                element = static_cast<float>(initializer.scale);
                break;
            case Initializer::Kind::normal:
                element = static_cast<float>(initializer.scale) * random.normal();
                break;
            default:
                element = static_cast<float>(initializer.scale) * random.uniform(-1.0F, 1.0F);
                break;
        }
    }
    return tensor;
}

}  // namespace enmesh
