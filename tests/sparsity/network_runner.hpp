#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "enmesh/base/random.hpp"
#include "enmesh/graph/operations.hpp"
#include "enmesh/reference/executor.hpp"
#include "enmesh/sparsity/permutation_groups.hpp"

namespace enmesh::testing {

/// Initial values with noise on them, so that no two channels are alike; variances stay positive.
inline WeightSource noisy_values() {
    return [](const Value& value) {
        Tensor tensor = initial_value(value, 3);
        if (value.role != Role::parameter && value.role != Role::state) return tensor;
        uint64_t stream = 0;
        for (const char c : value.name) stream = stream * 131 + static_cast<unsigned char>(c);
        Random random(7, stream);
        const bool product = tensor.shape().rank() == 2 || tensor.shape().rank() == 4;
        for (float& element : tensor.f32()) {
            const float noise = random.uniform(0.0F, 0.2F);
            element = product ? element * (1 + noise) : element + noise;
        }
        return tensor;
    };
}

/// What the network gives for fixed images.
inline Tensor outputs(const Graph& graph, const WeightSource& weights) {
    const auto executor = make_reference_executor(build_inference_step(graph, {}));
    initialize(*executor, 3);
    for (const Value& value : graph.values()) {
        const ValueId id = executor->step().graph.find(value.name);
        if (id.valid() && (value.role == Role::parameter || value.role == Role::state))
            executor->write(id, weights(value));
    }
    executor->refresh();
    Tensor images(graph.type(graph.find("images")).shape);
    Random random(11);
    for (float& pixel : images.f32()) pixel = random.normal();
    executor->write(executor->step().images, images);
    executor->gradients({});
    return executor->read(executor->step().logits);
}

/// Every weight of a convolution or linear layer.
inline std::vector<std::string> product_weights(const Graph& graph) {
    std::vector<std::string> names;
    for (const Node& node : graph.nodes()) {
        if (!node.operation.is<Conv2d>() && !node.operation.is<Linear>()) continue;
        const Value& weights = graph.value(node.inputs[1]);
        const bool known = std::find(names.begin(), names.end(), weights.name) != names.end();
        if (weights.role == Role::parameter && !known) names.push_back(weights.name);
    }
    return names;
}

/// A permutation of each group that moves every channel if there are two.
inline std::vector<std::vector<int64_t>> random_permutations(const ChannelGroups& groups) {
    Random random(5);
    std::vector<std::vector<int64_t>> permutations;
    for (const ChannelGroup& group : groups.groups) {
        std::vector<int64_t> order(static_cast<size_t>(group.channels));
        std::iota(order.begin(), order.end(), int64_t{0});
        // Sattolo's shuffle: one cycle.
        for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random.below(i)]);
        permutations.push_back(std::move(order));
    }
    return permutations;
}

inline WeightSource rearranged(const ChannelGroups& groups, std::vector<std::vector<int64_t>> permutations,
                               WeightSource source) {
    return [groups, permutations = std::move(permutations), source = std::move(source)](const Value& value) {
        return permuted(groups, permutations, value.name, source(value));
    };
}

}  // namespace enmesh::testing
