#include "enmesh/train/defaults.hpp"

#include <algorithm>
#include <array>

#include "enmesh/graph/operations.hpp"

namespace enmesh {
namespace {

enum Row : size_t { batch_norm, layer_norm, no_norm };

const std::array<TrainingDefaults, 3>& table() {
    static const std::array<TrainingDefaults, 3> rows = {{
        {.networks = "with batch norm",
         .sgd = {.lr = 0.1, .nesterov = true},
         .adamw = {.lr = 1e-3},
         .clip_norm = 0},
        {.networks = "with layer norm",
         .uses_adamw = true,
         .sgd = {.lr = 0.1, .nesterov = true},
         .adamw = {.lr = 1e-3},
         .clip_norm = 1},
        {.networks = "without norms",
         .uses_adamw = true,
         .sgd = {.lr = 0.1, .nesterov = true},
         .adamw = {.lr = 3e-3},
         .clip_norm = 1},
    }};
    return rows;
}

template <typename Op>
bool contains(const Graph& graph) {
    return std::ranges::any_of(graph.nodes(), [](const Node& node) { return node.operation.is<Op>(); });
}

}  // namespace

std::span<const TrainingDefaults> training_defaults() { return table(); }

const TrainingDefaults& training_defaults(const Graph& graph) {
    if (contains<BatchNorm>(graph)) return table()[batch_norm];
    return table()[contains<LayerNorm>(graph) ? layer_norm : no_norm];
}

StepOptions default_step_options(const Graph& graph) {
    const TrainingDefaults& row = training_defaults(graph);
    return {.optimizer = row.optimizer(), .clip_norm = row.clip_norm};
}

}  // namespace enmesh
