#include "enmesh/graph/fold_norms.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/rewriter.hpp"

namespace enmesh {
namespace {

class Folder {
  public:
    using Values = std::function<Tensor(const std::string&)>;

    Folder(const Graph& graph, const Values& value_of)
        : old_(inference_graph(graph)),
          consumers_(old_.consumers()),
          value_of_(value_of),
          rewriter_(old_, result_.graph) {
        for (int i = 0; i < static_cast<int>(old_.nodes().size()); ++i) find(i);
    }

    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    FoldedNorms run() && {
        const auto on_value = [&](ValueId id) {
            if (!dropped_.contains(id.index)) rewriter_.copy(id);
        };
        rewriter_.run(on_value, [&](const Node& node) { add(node); });
        result_.folded = static_cast<int>(norm_of_.size());
        return std::move(result_);
    }

  private:
    static size_t at(ValueId id) { return static_cast<size_t>(id.index); }
    bool used_once(ValueId id) const {
        if (std::find(old_.outputs.begin(), old_.outputs.end(), id) != old_.outputs.end()) return false;
        return consumers_[at(id)].size() == 1;
    }
    bool own_parameter(ValueId id) const { return old_.value(id).role == Role::parameter && used_once(id); }

    /// Remembers which product a norm goes into.
    void find(int index) {
        const Node& norm = old_.node(index);
        if (!norm.operation.is<BatchNorm>()) return;
        const int producer = old_.value(norm.inputs[0]).producer;
        bool foldable = producer >= 0 && used_once(norm.inputs[0]);
        if (foldable) {
            const Node& product = old_.node(producer);
            const bool rows =
                product.operation.is<Linear>() && old_.type(product.outputs[0]).shape.rank() == 2;
            foldable = product.operation.is<Conv2d>() || rows;
            for (size_t i = 1; i < product.inputs.size() && foldable; ++i)
                foldable = own_parameter(product.inputs[i]);
        }
        for (size_t i = 1; i < norm.inputs.size(); ++i)
            foldable = foldable && old_.value(norm.inputs[i]).role != Role::result;
        if (!foldable) {
            ++result_.left;
            return;
        }
        norm_of_.emplace(producer, index);
        folded_.insert(index);
        for (size_t i = 1; i < norm.inputs.size(); ++i) {
            if (used_once(norm.inputs[i])) dropped_.insert(norm.inputs[i].index);
        }
    }

    void add(const Node& node) {
        const int index = old_.value(node.outputs[0]).producer;
        if (folded_.contains(index)) {
            rewriter_.map(node.outputs[0], rewriter_.mapped(node.inputs[0]));
            return;
        }
        std::vector<ValueId> inputs = rewriter_.mapped_inputs(node);
        if (const auto norm = norm_of_.find(index); norm != norm_of_.end()) {
            fold(node, old_.node(norm->second));
            if (inputs.size() == 2) inputs.push_back(add_bias(node));
        }
        rewriter_.copy(node, node.operation, std::move(inputs));
    }

    std::string bias_name(const Node& product) const {
        if (product.inputs.size() == 3) return old_.value(product.inputs[2]).name;
        std::string name = old_.value(product.inputs[1]).name;
        if (name.ends_with(".weight")) name.resize(name.size() - 7);
        name += ".bias";
        while (old_.find(name).valid()) name += "_folded";
        return name;
    }

    ValueId add_bias(const Node& product) {
        const int64_t channels = old_.type(product.inputs[1]).shape[0];
        return result_.graph.add_parameter(bias_name(product), Shape{channels}, {}, false);
    }

    Tensor value(ValueId id) const {
        const Value& wanted = old_.value(id);
        Tensor tensor =
            wanted.role == Role::constant ? wanted.initializer.given->clone() : value_of_(wanted.name);
        if (tensor.shape() != wanted.type.shape || tensor.dtype() != DType::f32)
            refuse("'{}' is not {}", wanted.name, to_string(wanted.type));
        return tensor;
    }

    void fold(const Node& product, const Node& norm) {
        const double epsilon = norm.operation.as<BatchNorm>()->epsilon;
        const Tensor gamma = value(norm.inputs[1]), beta = value(norm.inputs[2]);
        const Tensor mean = value(norm.inputs[3]), variance = value(norm.inputs[4]);
        Tensor weights = value(product.inputs[1]);
        Tensor bias = product.inputs.size() == 3 ? value(product.inputs[2]) : Tensor(gamma.shape());
        const auto channels = static_cast<size_t>(gamma.elements());
        const size_t each = weights.f32().size() / channels;
        for (size_t k = 0; k < channels; ++k) {
            const double scale = static_cast<double>(gamma.f32()[k]) /
                                 std::sqrt(static_cast<double>(variance.f32()[k]) + epsilon);
            for (float& weight : weights.f32().subspan(k * each, each))
                weight = static_cast<float>(scale * static_cast<double>(weight));
            const double centred = static_cast<double>(bias.f32()[k]) - static_cast<double>(mean.f32()[k]);
            bias.f32()[k] = static_cast<float>(static_cast<double>(beta.f32()[k]) + scale * centred);
        }
        result_.values.emplace(bias_name(product), std::move(bias));
        result_.values.emplace(old_.value(product.inputs[1]).name, std::move(weights));
    }

    Graph old_;
    std::vector<std::vector<int>> consumers_;
    const Values& value_of_;
    std::map<int, int> norm_of_;  ///< product -> the norm that goes into it
    std::set<int> folded_;        ///< norms
    std::set<int> dropped_;       ///< values that only folded norms used
    FoldedNorms result_;
    GraphRewriter rewriter_;
};

}  // namespace

FoldedNorms fold_batch_norms(const Graph& graph, const std::function<Tensor(const std::string&)>& value_of) {
    return Folder(graph, value_of).run();
}

}  // namespace enmesh
