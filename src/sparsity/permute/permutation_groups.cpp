#include "enmesh/sparsity/permutation_groups.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "enmesh/base/error.hpp"
#include "sparsity/permute/channel_rules.hpp"

namespace enmesh {
namespace {

/// Elements before and after an axis.
struct AxisExtents {
    int64_t outer = 1, extent = 1, inner = 1;
    AxisExtents(const Shape& shape, int axis) : extent(shape[axis]) {
        for (int i = 0; i < axis; ++i) outer *= shape[i];
        for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
    }
};

/// Whether every order of the axis is the same.
bool is_uniform(const Tensor& tensor, int axis) {
    const AxisExtents extents(tensor.shape(), axis);
    const size_t step = static_cast<size_t>(extents.inner) * size_of(tensor.dtype());
    const auto* const data = static_cast<const std::byte*>(tensor.data());
    for (int64_t outer = 0; outer < extents.outer; ++outer) {
        const std::byte* const first = data + static_cast<size_t>(outer * extents.extent) * step;
        for (int64_t i = 1; i < extents.extent; ++i) {
            if (std::memcmp(first, first + static_cast<size_t>(i) * step, step) != 0) return false;
        }
    }
    return true;
}

class GroupFinder {
  public:
    GroupFinder(const Graph& graph, const WeightSource& source) : graph_(graph) {
        known_.resize(graph.values().size());
        uniform_.resize(graph.values().size());
        for (size_t i = 0; i < graph.values().size(); ++i) note_value(i, source);
        for (const Node& node : graph.nodes()) walk(node);
        for (const ValueId output : graph.outputs) {
            for (const ChannelOrder& axis : orders_of(output))
                orders_.fix(axis, "the network's output keeps its order");
        }
    }

    ChannelGroups run(std::span<const std::string> weights, int m) && {
        const std::set<std::string> asked(weights.begin(), weights.end());
        for (const std::string& name : weights) add_reader(name, m);
        for (size_t i = 0; i < graph_.values().size(); ++i) {
            const Value& value = graph_.values()[i];
            if (value.role != Role::parameter && value.role != Role::state) continue;
            for (size_t axis = 0; axis < known_[i].size(); ++axis) add_axis(value, i, axis);
        }
        return std::move(result_);
    }

  private:
    void note_value(size_t index, const WeightSource& source) {
        const Value& value = graph_.values()[index];
        if (value.role == Role::result) return;
        const Shape& shape = value.type.shape;
        uniform_[index].assign(static_cast<size_t>(shape.rank()), false);
        for (const int64_t extent : shape) known_[index].push_back(first_order(value, extent));
        if (value.role == Role::input) return;
        const Tensor tensor = source(value);
        for (int axis = 0; axis < shape.rank(); ++axis)
            uniform_[index][static_cast<size_t>(axis)] = is_uniform(tensor, axis);
    }

    ChannelOrder first_order(const Value& value, int64_t extent) {
        if (value.role == Role::input)
            return orders_.fixed(extent, fmt::format("the network's input '{}' keeps its order", value.name));
        if (value.role == Role::constant)
            return orders_.fixed(extent, fmt::format("constant '{}' is not rearranged", value.name));
        return orders_.free(extent);
    }

    /// What is the same along an axis has any order there, another one in each use.
    AxisOrders orders_of(ValueId id) {
        const auto index = static_cast<size_t>(id.index);
        AxisOrders axes = known_[index];
        for (size_t axis = 0; axis < uniform_[index].size(); ++axis) {
            if (uniform_[index][axis]) axes[axis] = orders_.free(orders_.extent(axes[axis]));
        }
        return axes;
    }

    void walk(const Node& node) {
        ChannelCarrier carrier{orders_, graph_, node, {}};
        for (const ValueId input : node.inputs) carrier.inputs.push_back(orders_of(input));
        std::vector<AxisOrders> results = carry_channels(std::move(carrier));
        for (size_t i = 0; i < node.outputs.size(); ++i)
            known_[static_cast<size_t>(node.outputs[i].index)] = std::move(results[i]);
    }

    int group_of(int space) {
        const auto [found, is_new] = groups_.emplace(space, static_cast<int>(result_.groups.size()));
        if (is_new)
            result_.groups.push_back({.channels = orders_.channels(space), .readers = {}, .producers = {}});
        return found->second;
    }

    void leave(const std::string& weights, std::string reason) {
        result_.unpermuted.push_back({weights, std::move(reason)});
    }

    void add_reader(const std::string& name, int m) {
        const auto index = static_cast<size_t>(graph_.find(name).index);
        if (uniform_[index][1]) return leave(name, "its input channels are all alike");
        std::vector<std::string> reasons;
        const auto give = [&](std::string reason) {
            if (std::find(reasons.begin(), reasons.end(), reason) == reasons.end())
                reasons.push_back(std::move(reason));
        };
        int64_t first = 0;
        for (const ChannelRun run : orders_.resolved(known_[index][1])) {
            if (run.fixed()) {
                give(orders_.reason_of(run));
                first += run.inner;
                continue;
            }
            const int64_t channels = orders_.channels(run.space);
            if (run.inner != 1) {
                give(fmt::format("its input channels move in runs of {}", run.inner));
            } else if (first % m != 0 || channels % m != 0) {
                give(fmt::format("{} of its input channels move together, not in whole groups of {}",
                                 channels, m));
            } else {
                result_.groups[static_cast<size_t>(group_of(run.space))].readers.push_back({name, first});
            }
            first += channels * run.inner;
        }
        for (std::string& reason : reasons) leave(name, std::move(reason));
    }

    void add_axis(const Value& value, size_t index, size_t axis) {
        if (uniform_[index][axis]) return;
        ChannelAxis entry{value.name, static_cast<int>(axis), {}};
        bool moves = false;
        for (const ChannelRun run : orders_.resolved(known_[index][axis])) {
            const auto group = run.fixed() ? groups_.end() : groups_.find(run.space);
            if (group == groups_.end()) {
                entry.runs.push_back({-1, run.fixed() ? run.inner : orders_.channels(run.space) * run.inner});
                continue;
            }
            moves = true;
            entry.runs.push_back({group->second, run.inner});
            std::vector<std::string>& producers =
                result_.groups[static_cast<size_t>(group->second)].producers;
            const bool new_one = producers.empty() || producers.back() != value.name;
            if (axis == 0 && value.type.shape.rank() >= 2 && new_one) producers.push_back(value.name);
        }
        if (moves) result_.axes.push_back(std::move(entry));
    }

    const Graph& graph_;
    ChannelOrders orders_;
    std::vector<AxisOrders> known_;           ///< of each value
    std::vector<std::vector<bool>> uniform_;  ///< per axis; empty for results
    std::map<int, int> groups_;               ///< by space
    ChannelGroups result_;
};

/// Where each element of the axis comes from.
std::vector<int64_t> sources(const ChannelGroups& groups, std::span<const std::vector<int64_t>> permutations,
                             const ChannelAxis& axis) {
    std::vector<int64_t> from;
    for (const ChannelAxis::Run& run : axis.runs) {
        const auto base = static_cast<int64_t>(from.size());
        if (run.group < 0) {
            for (int64_t i = 0; i < run.inner; ++i) from.push_back(base + i);
            continue;
        }
        const std::vector<int64_t>& permutation = permutations[static_cast<size_t>(run.group)];
        ENMESH_ASSERT(static_cast<int64_t>(permutation.size()) ==
                      groups.groups[static_cast<size_t>(run.group)].channels);
        for (const int64_t channel : permutation) {
            for (int64_t i = 0; i < run.inner; ++i) from.push_back(base + channel * run.inner + i);
        }
    }
    return from;
}

Tensor gathered(const Tensor& tensor, int axis, std::span<const int64_t> from) {
    const AxisExtents extents(tensor.shape(), axis);
    ENMESH_ASSERT(static_cast<int64_t>(from.size()) == extents.extent);
    Tensor result(tensor.shape(), tensor.dtype());
    const size_t step = static_cast<size_t>(extents.inner) * size_of(tensor.dtype());
    const auto* const source = static_cast<const std::byte*>(tensor.data());
    auto* const target = static_cast<std::byte*>(result.data());
    for (int64_t outer = 0; outer < extents.outer; ++outer) {
        const size_t row = static_cast<size_t>(outer * extents.extent) * step;
        for (size_t i = 0; i < from.size(); ++i)
            std::memcpy(target + row + i * step, source + row + static_cast<size_t>(from[i]) * step, step);
    }
    return result;
}

}  // namespace

ChannelGroups find_channel_groups(const Graph& graph, const WeightSource& source,
                                  std::span<const std::string> weights, int m) {
    return GroupFinder(graph, source).run(weights, m);
}

Tensor permuted(const ChannelGroups& groups, std::span<const std::vector<int64_t>> permutations,
                const std::string& name, const Tensor& tensor) {
    ENMESH_ASSERT(permutations.size() == groups.groups.size());
    Tensor result = tensor.clone();
    for (const ChannelAxis& axis : groups.axes) {
        if (axis.value == name) result = gathered(result, axis.axis, sources(groups, permutations, axis));
    }
    return result;
}

}  // namespace enmesh
