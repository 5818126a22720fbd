#pragma once

#include <span>
#include <string_view>

#include "enmesh/graph/graph.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh {

/// What a kind of network is trained with where nothing else is said. `enmesh train` and Trainer take them;
/// Schedule adds the warm-up. Under them every network of the zoo learns, dense and N:M, in float32 and
/// bfloat16 (docs/train.md).
struct TrainingDefaults {
    std::string_view networks;  ///< which ones: "with batch norm"
    bool uses_adamw = false;    ///< which of the two is used
    Sgd sgd;                    ///< its settings, and the other's where that is asked for
    AdamW adamw;
    double clip_norm = 0;  ///< 0: no clipping

    Optimizer optimizer() const { return uses_adamw ? Optimizer(adamw) : Optimizer(sgd); }
};

/// Every row there is. A network's row follows from its norms, which decide how large a learning rate it
/// bears; so a network of one's own and one from an ONNX file have theirs too.
std::span<const TrainingDefaults> training_defaults();
const TrainingDefaults& training_defaults(const Graph& graph);

/// The row's optimizer and clipping; all else as StepOptions has it.
StepOptions default_step_options(const Graph& graph);

}  // namespace enmesh
