#pragma once

#include <cstdint>
#include <memory>

#include "enmesh/data/dataset.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/train/backend.hpp"

namespace enmesh {

struct Evaluation {
    double accuracy =
        0;            ///< fraction of the images whose largest logit is the label's (ties: the first class)
    double loss = 0;  ///< mean cross-entropy without label smoothing
    int64_t images = 0;
};

/// Runs every image of the split once through an inference step; the step's batch need not divide their
/// number. Refuses a data set whose images or labels the step cannot take.
Evaluation evaluate(Executor& inference, const data::Dataset& dataset, const data::Images& split,
                    int loader_threads = 1);

/// An inference step of `graph` whose batch norms are folded (see fold_batch_norms), with the weights,
/// statistics and masks of `loaded`, an executor of the same graph under the same recipe.
std::unique_ptr<Executor> folded_inference(const Backend& backend, const Graph& graph, const Recipe& recipe,
                                           const Executor& loaded);

/// Refuses a data set whose images have another shape than the graph's or whose labels exceed its logits.
void check_dataset(const TrainingStep& step, const data::Dataset& dataset);

}  // namespace enmesh
