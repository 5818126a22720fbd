#pragma once

#include "enmesh/data/loader.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {

/// Hands a loader's batches to an executor.
class BatchWriter {
  public:
    explicit BatchWriter(const TrainingStep& step);
    void write(const data::Batch& batch, Executor& executor);

  private:
    const TrainingStep& step_;
    Tensor images_, labels_;
};

}  // namespace enmesh
