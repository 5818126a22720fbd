#include "enmesh/sparsity/prune_network.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "enmesh/base/error.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/sparsity/permutation.hpp"

namespace enmesh {
namespace {

using Permutations = std::vector<std::vector<int64_t>>;

std::vector<int64_t> identity(int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), int64_t{0});
    return order;
}

TensorHeader header_of(const Value& value) { return {value.name, "F32", value.type.shape}; }

/// Weights and the (first) layer that they are of.
struct ChosenWeights {
    std::string name, layer;
    Pattern pattern;
};

/// The weights that are pruned, in the graph's order; the others go to plan.left_dense.
std::vector<ChosenWeights> choose_weights(const Graph& graph, const Recipe& recipe, NetworkPlan& plan) {
    std::map<std::string, LayerDecision> decisions;
    for (LayerDecision& decision : decide_layers(graph, recipe)) {
        if (decision.stage == Stage::FF) decisions.emplace(decision.layer, decision);
    }
    // Weights of several layers are pruned if all of them take N:M weights.
    std::vector<ChosenWeights> order;
    std::map<std::string, std::string> reasons;
    std::map<std::string, Pattern> patterns;
    for (const Node& node : graph.nodes()) {
        if (!node.operation.is<Conv2d>() && !node.operation.is<Linear>() && !node.operation.is<MatMul>())
            continue;
        const Value& weights = graph.value(node.inputs[1]);
        if (weights.role == Role::result) continue;
        const LayerDecision& decision = decisions.at(node.layer);
        std::string reason = decision.reason;
        if (weights.role != Role::parameter) reason = "its weights are a constant, not a parameter";
        if (reason.empty() && node.operation.is<MatMul>()) reason = "its weights differ from image to image";
        const auto [found, is_new] = reasons.emplace(weights.name, reason);
        if (is_new) order.push_back({weights.name, node.layer, decision.pattern});
        if (patterns.emplace(weights.name, decision.pattern).first->second != decision.pattern)
            reason = "its layers are to hold different patterns";
        if (found->second.empty()) found->second = reason;
    }
    std::vector<ChosenWeights> chosen;
    for (const ChosenWeights& each : order) {
        if (reasons[each.name].empty()) {
            chosen.push_back(each);
        } else {
            plan.left_dense.push_back({each.name, reasons[each.name], each.layer});
        }
    }
    return chosen;
}

class NetworkPlanner {
  public:
    NetworkPlanner(const Graph& graph, const WeightSource& source, NetworkPlan& plan)
        : graph_(graph), source_(source), plan_(plan) {}

    void measure(const std::vector<ChosenWeights>& chosen) {
        for (const auto& [name, layer, pattern] : chosen) {
            const Tensor tensor = weights(name);
            PruneOptions options = plan_.options;
            options.permute = false;
            options.pattern = pattern;
            const TensorHeader header = header_of(value(name));
            plan_.layers.push_back(
                plan_layer(header, float_weights(header, tensor.as<std::byte>()), options));
            plan_.layers.back().layer = layer;
        }
    }

    void search(const std::function<void(size_t, size_t, const std::string&)>& progress) {
        const Timer timer;
        std::vector<std::string> names;
        for (const PrunedLayer& layer : plan_.layers) names.push_back(layer.name);
        plan_.channels = find_channel_groups(graph_, source_, names, plan_.options.pattern.m);
        const std::vector<ChannelGroup>& groups = plan_.channels.groups;
        for (const ChannelGroup& group : groups) plan_.permutations.push_back(identity(group.channels));
        double cost_left = 0;
        for (const ChannelGroup& group : groups) cost_left += cost(group);
        for (size_t i = 0; i < groups.size(); ++i) {
            if (progress) progress(i, groups.size(), groups[i].readers.front().weights);
            PermutationOptions options{.seed = plan_.options.seed, .search = plan_.options.search};
            if (std::isfinite(plan_.options.time_limit_seconds)) {
                options.time_limit_seconds =
                    std::max(0.0, plan_.options.time_limit_seconds - timer.seconds()) * cost(groups[i]) /
                    cost_left;
            }
            cost_left -= cost(groups[i]);
            search_group(i, options);
        }
        measure_permuted();
    }

  private:
    const Value& value(const std::string& name) const { return graph_.value(graph_.find(name)); }
    Tensor weights(const std::string& name) const { return source_(value(name)); }
    PrunedLayer& layer(const std::string& name) {
        return *std::find_if(plan_.layers.begin(), plan_.layers.end(),
                             [&](const PrunedLayer& candidate) { return candidate.name == name; });
    }

    int64_t rows(const ChannelGroup& group) const {
        int64_t sum = 0;
        for (const ChannelGroup::Reader& reader : group.readers)
            sum += WeightExtents::of(value(reader.weights).type.shape).rows();
        return sum;
    }
    /// What a group's search is worth in time.
    double cost(const ChannelGroup& group) const {
        const auto channels = static_cast<double>(group.channels);
        return channels * std::min(channels, 2048.0) * static_cast<double>(rows(group)) + 1e8;
    }

    /// The readers' columns over each other: one permutation serves them all.
    MagnitudeColumns stacked(const ChannelGroup& group) const {
        MagnitudeColumns magnitudes(rows(group), group.channels);
        int64_t row = 0;
        for (const ChannelGroup::Reader& reader : group.readers) {
            const Tensor tensor = weights(reader.weights);
            const WeightExtents extents = WeightExtents::of(tensor.shape());
            const std::span<const float> all = tensor.f32();
            for (int64_t channel = 0; channel < group.channels; ++channel) {
                const std::span<float> column = magnitudes.column(channel);
                for (int64_t output = 0; output < extents.outputs; ++output) {
                    const int64_t from =
                        (output * extents.channels + reader.first + channel) * extents.positions;
                    for (int64_t position = 0; position < extents.positions; ++position)
                        column[row + output * extents.positions + position] = std::abs(all[from + position]);
                }
            }
            row += extents.rows();
        }
        return magnitudes;
    }

    void search_group(size_t index, const PermutationOptions& options) {
        const ChannelGroup& group = plan_.channels.groups[index];
        const Timer timer;
        PermutationResult found = search_permutation(stacked(group), plan_.options.pattern, options);
        SearchedGroup entry{.channels = group.channels,
                            .readers = {},
                            .producers = group.producers,
                            .kept_plain = found.kept_plain,
                            .kept = found.kept,
                            .seconds = timer.seconds(),
                            .exact = found.exact,
                            .permuted = found.permutation != identity(group.channels)};
        for (const ChannelGroup::Reader& reader : group.readers) {
            if (entry.readers.empty() || entry.readers.back() != reader.weights)
                entry.readers.push_back(reader.weights);
            const double share =
                static_cast<double>(WeightExtents::of(value(reader.weights).type.shape).rows()) /
                static_cast<double>(rows(group));
            layer(reader.weights).seconds += share * entry.seconds;
        }
        plan_.permutations[index] = std::move(found.permutation);
        plan_.groups.push_back(std::move(entry));
    }

    /// What the layers keep in the end. A search sees whole groups of M only: where other layers read the
    /// same channels in another way, or masks are transposable, the network might keep less than before.
    void measure_permuted() {
        double plain = 0, kept = 0;
        std::vector<double> each;
        for (const PrunedLayer& layer : plan_.layers) {
            PruneOptions options = plan_.options;
            options.permute = false;
            const Tensor tensor =
                permuted(plan_.channels, plan_.permutations, layer.name, weights(layer.name));
            each.push_back(plan_layer(header_of(value(layer.name)), tensor.f32(), options).kept);
            plain += layer.kept_plain;
            kept += each.back();
        }
        if (kept < plain) {
            for (std::vector<int64_t>& permutation : plan_.permutations)
                permutation = identity(static_cast<int64_t>(permutation.size()));
            for (SearchedGroup& group : plan_.groups) {
                group.permuted = false;
                group.kept = group.kept_plain;
            }
            return;
        }
        for (size_t i = 0; i < each.size(); ++i) plan_.layers[i].kept = each[i];
        for (size_t i = 0; i < plan_.groups.size(); ++i) {
            // The best arrangement of a layer: the only one that reads these channels, and all of its own.
            const SearchedGroup& group = plan_.groups[i];
            if (group.readers.size() != 1 || plan_.channels.groups[i].readers.size() != 1) continue;
            PrunedLayer& only = layer(group.readers.front());
            only.exact = group.exact && only.cols == group.channels && !plan_.options.transposable;
        }
    }

    const Graph& graph_;
    const WeightSource& source_;
    NetworkPlan& plan_;
};

}  // namespace

Recipe pruning_recipe(const PruneOptions& options, const std::vector<RecipeOverride>& overrides) {
    Recipe recipe = make_recipe(options.transposable ? "transposable" : "asp", options.pattern);
    recipe.overrides = overrides;
    return recipe;
}

NetworkPlan plan_network(const Graph& graph, const WeightSource& source, const PruneOptions& options,
                         const std::vector<RecipeOverride>& overrides,
                         const std::function<void(size_t, size_t, const std::string&)>& progress) {
    NetworkPlan plan;
    plan.options = options;
    NetworkPlanner planner(graph, source, plan);
    const std::vector<ChosenWeights> chosen = choose_weights(graph, pruning_recipe(options, overrides), plan);
    for (const ChosenWeights& each : chosen) {
        if (options.permute && each.pattern != options.pattern)
            refuse("layer '{}' is to hold {}: permutations are searched for one pattern, {}", each.layer,
                   to_string(each.pattern), to_string(options.pattern));
    }
    planner.measure(chosen);
    if (options.permute) planner.search(progress);
    return plan;
}

WeightSource pruned_weights(const NetworkPlan& plan, const WeightSource& source) {
    return [&plan, &source](const Value& value) {
        Tensor tensor = source(value);
        if (!plan.permutations.empty())
            tensor = permuted(plan.channels, plan.permutations, value.name, tensor);
        const auto layer = std::find_if(plan.layers.begin(), plan.layers.end(),
                                        [&](const PrunedLayer& each) { return each.name == value.name; });
        if (layer == plan.layers.end() || !plan.options.prune) return tensor;
        NamedTensor named{header_of(value), Buffer(tensor.bytes())};
        std::memcpy(named.data.data(), tensor.data(), tensor.bytes());
        apply_plan(*layer, plan.options, named);
        std::memcpy(tensor.data(), named.data.data(), tensor.bytes());
        return tensor;
    };
}

}  // namespace enmesh
