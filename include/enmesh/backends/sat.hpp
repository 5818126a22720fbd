#pragma once

#include "enmesh/accel/sat/config.hpp"
#include "enmesh/train/backend.hpp"

namespace enmesh {

/// Trains with SAT's arithmetic at software speed (accel::sat::sat_products) and says what the simulated
/// machine would take, under the schedule that find_schedule() finds. What stands between the products is
/// computed in FP32 on this processor. Refuses a step that the machine cannot run, naming layer and stage.
Backend sat_backend(const accel::SatConfig& config = {});

}  // namespace enmesh
