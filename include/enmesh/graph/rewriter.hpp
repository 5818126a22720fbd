#pragma once

#include <vector>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// Copies a graph into another one, value by value and node by node. A pass over a graph is this copy with a
/// hook for the values or nodes that it changes. Both graphs must outlive the rewriter.
class GraphRewriter {
  public:
    GraphRewriter(const Graph& from, Graph& to) : from_(from), to_(to), mapped_(from.values().size()) {}

    /// Calls `on_value(id)` for every value that no node produces, then `on_node(node)` for every node in
    /// order; each hook copies, changes or leaves out. Then maps the outputs.
    template <typename OnValue, typename OnNode>
    void run(OnValue on_value, OnNode on_node) {
        for (int i = 0; i < static_cast<int>(from_.values().size()); ++i) {
            if (from_.value(ValueId{i}).role != Role::result) on_value(ValueId{i});
        }
        for (const Node& node : from_.nodes()) on_node(node);
        for (const ValueId output : from_.outputs) to_.outputs.push_back(mapped(output));
    }
    /// The same with every value as it is.
    template <typename OnNode>
    void run(OnNode on_node) {
        run([&](ValueId id) { copy(id); }, on_node);
    }

    /// The new value of an old one; invalid if it has none (yet).
    ValueId mapped(ValueId old) const { return mapped_[static_cast<size_t>(old.index)]; }
    void map(ValueId old, ValueId now) { mapped_[static_cast<size_t>(old.index)] = now; }
    std::vector<ValueId> mapped_inputs(const Node& node) const;

    void copy(ValueId old) { copy(old, from_.value(old)); }
    /// Adds `value` in place of an old one. Its role must not be `result`; a constant's type is that of its
    /// tensor.
    void copy(ValueId old, const Value& value);

    void copy(const Node& old) { copy(old, old.operation, mapped_inputs(old)); }
    /// Adds a node of the old one's layer and stage, and maps the old outputs to the new ones.
    void copy(const Node& old, Operation operation, std::vector<ValueId> inputs);

  private:
    const Graph& from_;
    Graph& to_;
    std::vector<ValueId> mapped_;
};

}  // namespace enmesh
