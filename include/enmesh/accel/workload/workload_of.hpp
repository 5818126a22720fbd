#pragma once

#include "enmesh/accel/workload/workload.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::accel {

/// What an accelerator sees of a training step: every matrix product of FF, BP and WG, all vector work
/// between them, and every parameter's update, in the step's order. Packing inside FF, BP and WG is not
/// vector work: the accelerator places it (schedule.hpp). Free here: reshapes.
Workload workload_of(const TrainingStep& step);

}  // namespace enmesh::accel
