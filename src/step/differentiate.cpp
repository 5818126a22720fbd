#include "step/differentiate.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

/// Values whose gradient is needed: parameters and everything computed from one.
std::vector<bool> values_with_gradient(const Graph& graph) {
    std::vector<bool> wanted(graph.values().size(), false);
    for (size_t i = 0; i < graph.values().size(); ++i) wanted[i] = graph.values()[i].role == Role::parameter;
    for (const Node& node : graph.nodes()) {
        bool any = false;
        for (const ValueId input : node.inputs) any = any || wanted[static_cast<size_t>(input.index)];
        for (const ValueId output : node.outputs) wanted[static_cast<size_t>(output.index)] = any;
    }
    return wanted;
}

class Differentiator final : public GradientBuilder {
  public:
    Differentiator(Graph& graph, ValueId loss, ValueId loss_scale)
        : graph_(graph),
          wanted_(values_with_gradient(graph)),
          shares_(graph.values().size()),
          loss_scale_(loss_scale) {
        const int loss_node = graph.value(loss).producer;
        for (int i = static_cast<int>(graph.nodes().size()) - 1; i >= 0; --i) {
            const Node& node = graph.node(i);
            bool reached = i == loss_node;
            for (const ValueId output : node.outputs) reached = reached || !shares_[at(output)].empty();
            bool any_wanted = false;
            for (const ValueId input : node.inputs) any_wanted = any_wanted || wanted_[at(input)];
            if (!reached || !any_wanted) continue;
            node_ = node;  // a copy: its rule appends nodes, which moves the graph's own
            if (!differentiable(node_.operation)) {
                refuse("layer '{}' ({}) has no gradient", node_.layer, enmesh::name(node_.operation));
            }
            at_loss_ = i == loss_node;
            enmesh::differentiate(node_.operation, *this);
        }
    }

    std::vector<ValueId> result() {
        std::vector<ValueId> gradients(shares_.size());
        for (size_t i = 0; i < shares_.size(); ++i) {
            if (graph_.values()[i].role == Role::parameter && !shares_[i].empty()) {
                node_.layer = graph_.values()[i].name;
                gradients[i] = summed(ValueId{static_cast<int>(i)}, Stage::WG);
            }
        }
        return gradients;
    }

    ValueId input(int index) const override { return node_.inputs[static_cast<size_t>(index)]; }
    int input_count() const override { return static_cast<int>(node_.inputs.size()); }
    ValueId output(int index) const override { return node_.outputs[static_cast<size_t>(index)]; }
    const ValueType& type(ValueId value) const override { return graph_.type(value); }
    ValueId gradient(int index) override { return summed(output(index), Stage::BP); }
    bool wanted(int index) const override { return wanted_[at(input(index))]; }
    std::vector<ValueId> emit(Stage stage, const Operation& operation, std::vector<ValueId> inputs) override {
        return graph_.add(operation, std::move(inputs), node_.layer, stage);
    }
    void contribute(int index, ValueId gradient) override {
        if (!wanted(index)) return;
        if (at_loss_ && loss_scale_.valid())
            gradient = graph_.add_one(Multiply{}, {gradient, loss_scale_}, node_.layer, Stage::BP);
        shares_[at(input(index))].push_back(gradient);
    }

  private:
    static size_t at(ValueId value) { return static_cast<size_t>(value.index); }

    ValueId summed(ValueId value, Stage stage) {
        std::vector<ValueId>& shares = shares_[at(value)];
        if (shares.empty()) refuse("layer '{}': the gradient of an unused output is needed", node_.layer);
        while (shares.size() > 1) {
            const ValueId a = shares[0], b = shares[1];
            shares.erase(shares.begin());
            shares[0] = graph_.add_one(Add{}, {a, b}, node_.layer, stage);
        }
        return shares[0];
    }

    Graph& graph_;
    std::vector<bool> wanted_;
    std::vector<std::vector<ValueId>> shares_;
    ValueId loss_scale_;
    bool at_loss_ = false;
    Node node_{Relu{}, "", Stage::FF, {}, {}};
};

}  // namespace

std::vector<ValueId> differentiate(Graph& graph, ValueId loss, ValueId loss_scale) {
    return Differentiator(graph, loss, loss_scale).result();
}

}  // namespace enmesh
