#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "enmesh/graph/graph.hpp"
#include "enmesh/sparsity/recipe.hpp"

namespace enmesh {

/// Stochastic gradient descent; see SgdUpdate for the formula.
struct Sgd {
    double lr = 0.1;
    double momentum = 0.9;
    double weight_decay = 5e-4;
    bool nesterov = false;
    friend bool operator==(const Sgd&, const Sgd&) = default;
};
/// AdamW; see AdamWUpdate for the formula.
struct AdamW {
    double lr = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0.05;
    friend bool operator==(const AdamW&, const AdamW&) = default;
};
using Optimizer = std::variant<Sgd, AdamW>;
double base_learning_rate(const Optimizer& optimizer);

struct StepOptions {
    Optimizer optimizer = Sgd{};
    double label_smoothing = 0;
    double clip_norm = 0;      ///< 0: no clipping
    int accumulate = 1;        ///< micro-batches per update
    double average_decay = 0;  ///< exponential moving average of the parameters; 0: none
    bool decay_all = false;    ///< weight decay on norms and biases too
    friend bool operator==(const StepOptions&, const StepOptions&) = default;
};

/// A mask that is chosen once, from the first weights (or from weights that already are N:M), and kept.
struct FrozenMask {
    ValueId mask, weights;
    Pattern pattern;
    GroupAxis axis = GroupAxis::input_channels;
};

/// A parameter's way through the step.
struct StepParameter {
    ValueId weights;
    ValueId gradient;  ///< as WU reads it; invalid in an inference step
    ValueId average;   ///< exponential moving average; invalid without one
};

/// The graph after differentiation, with the recipe applied: an immutable, logical list of nodes, each with
/// its stage and layer. Stages stand in the order FF, then BP and WG, then WU; a run of gradients() executes
/// all but WU, update() WU.
struct TrainingStep {
    Graph graph;
    Recipe recipe;
    StepOptions options;

    ValueId images, labels;  ///< inputs; labels are invalid in an inference step without a loss
    ValueId learning_rate, gradient_scale, update_count;  ///< scalar inputs of WU
    ValueId logits, loss, probabilities;
    ValueId gradient_norm;  ///< invalid without clipping
    std::vector<StepParameter> parameters;
    std::vector<FrozenMask> frozen_masks;
    /// {result, state}: at the end of the step the result is the state's new value (in the same storage).
    std::vector<std::pair<ValueId, ValueId>> carried;
    std::vector<LayerDecision> decisions;

    bool trains() const { return learning_rate.valid(); }
};

/// Differentiates `graph` (inputs "images", "labels", perhaps the scalar "loss_scale", a factor of the loss's
/// gradient; output the logits; cross-entropy), applies the recipe, adds WU. Names a node without gradient.
TrainingStep build_training_step(const Graph& graph, const Recipe& recipe, const StepOptions& options);
/// FF alone on running statistics, with the recipe's FF operands, and the loss if `graph` has "labels". Its
/// WU stage holds only the packing.
TrainingStep build_inference_step(const Graph& graph, const Recipe& recipe, double label_smoothing = 0);

/// Multiply-adds of every product of a stage for the whole batch.
struct StageCount {
    int64_t multiply_adds = 0;
    int64_t sparse_multiply_adds = 0;
};
StageCount count_products(const TrainingStep& step, Stage stage);

/// Bytes live at once when every result takes its own buffer from first to last use (parameters and states
/// included).
int64_t peak_bytes(const TrainingStep& step);

/// "print" and "dot" of the graph, with a heading of inputs, states and left-dense products.
std::string print(const TrainingStep& step);

}  // namespace enmesh
