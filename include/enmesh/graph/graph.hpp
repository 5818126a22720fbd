#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "enmesh/graph/operations.hpp"
#include "enmesh/tensor/tensor.hpp"

namespace enmesh {

/// How a parameter or state gets its first value. Random ones are a pure function of (seed, name).
struct Initializer {
    enum class Kind : uint8_t { zeros, constant, normal, uniform, given };
    Kind kind = Kind::zeros;
    double scale = 0;                     ///< the constant, the standard deviation, or the bound
    std::shared_ptr<const Tensor> given;  ///< for Kind::given
};

enum class Role : uint8_t {
    input,      ///< written by the caller before each run (images, labels, learning rate)
    parameter,  ///< trained
    state,      ///< lives from step to step, not trained by gradient (running statistics, momentum, packed
                ///< weights)
    constant,   ///< never changes
    result,     ///< produced by a node
};
std::string to_string(Role role);

struct Value {
    std::string name;
    ValueType type;
    Role role = Role::result;
    Initializer initializer;
    bool decayed = false;  ///< weight decay applies (parameters; norms and biases are exempt)
    int producer = -1;     ///< node index; -1 for everything but results
};

struct Node {
    Operation operation;
    std::string layer;  ///< the user's name of the layer: "layer1.0.conv1"
    Stage stage = Stage::FF;
    std::vector<ValueId> inputs;
    std::vector<ValueId> outputs;
};

/// A static graph in single assignment: nodes stand in an order in which they can run, every value has one
/// producer.
class Graph {
  public:
    ValueId add_input(std::string name, ValueType type);
    ValueId add_parameter(std::string name, Shape shape, Initializer initializer, bool decayed);
    ValueId add_state(std::string name, ValueType type, Initializer initializer = {});
    ValueId add_constant(std::string name, std::shared_ptr<const Tensor> tensor);

    /// Appends a node; infers and returns its outputs. An error names the layer and the operation.
    std::vector<ValueId> add(Operation operation, std::vector<ValueId> inputs, std::string layer,
                             Stage stage = Stage::FF);
    ValueId add_one(Operation operation, std::vector<ValueId> inputs, std::string layer,
                    Stage stage = Stage::FF) {
        return add(std::move(operation), std::move(inputs), std::move(layer), stage).front();
    }

    std::span<const Node> nodes() const { return nodes_; }
    std::span<const Value> values() const { return values_; }
    const Node& node(int index) const { return nodes_[static_cast<size_t>(index)]; }
    const Value& value(ValueId id) const { return values_[static_cast<size_t>(id.index)]; }
    Value& value(ValueId id) { return values_[static_cast<size_t>(id.index)]; }
    const ValueType& type(ValueId id) const { return value(id).type; }
    /// Invalid if there is none of that name.
    ValueId find(std::string_view name) const;

    /// What the graph is for: marked by the builder, read by everyone else.
    std::vector<ValueId> outputs;

    /// Nodes that use each value, by value index.
    std::vector<std::vector<int>> consumers() const;

  private:
    ValueId add_value(Value value);

    std::vector<Node> nodes_;
    std::vector<Value> values_;
    std::map<std::string, int, std::less<>> by_name_;
};

/// The graph with batch norms on running statistics and without dropout: what evaluation runs.
Graph inference_graph(const Graph& graph);

/// One line per node: stage, layer, operation with attributes, inputs -> outputs with types.
std::string print(const Graph& graph);
/// The same as a Graphviz drawing.
std::string dot(const Graph& graph);

/// The initial value of a parameter, state or constant.
Tensor initial_value(const Value& value, uint64_t seed);

}  // namespace enmesh
