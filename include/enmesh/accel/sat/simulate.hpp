#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "enmesh/accel/common/product_choice.hpp"
#include "enmesh/accel/report/report.hpp"
#include "enmesh/accel/sat/config.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/accel/workload/workload.hpp"

namespace enmesh::accel::sat {

/// The step on SAT under a schedule that fits (check() it, or take find_schedule()'s). A product's
/// "engine_cycles" are the STCE's own; its other cycles wait for DRAM or SORE.
Report simulate(const SatConfig& config, const Workload& workload, const Schedule& schedule);

/// Runs the buffer tiles of every distinct product phase that is chosen through the cycle-stepped STCE, on
/// FP16 values drawn from `seed`, and compares their cycles with the closed form and their outputs, bit by
/// bit, with a software product. Of every chosen product the tiles' cycles, each as often as it occurs, must
/// be the engine cycles of `report`, which simulate() made of this schedule.
///
/// If that takes no more than `most_element_cycles`, every tile of a phase runs, tiles along k begin at the
/// sums that the one before left, and the outputs are held against the software product of the whole phase.
/// Else one tile of each kind (sizes; begins at +0 or at stored sums, then drawn) runs, against its own
/// software product. Refuses what takes more even so, and fails on the first difference, naming layer and
/// stage. `progress`, if given, hears after every tile how many element-cycles are done and how many there
/// are.
ExactRun run_exact(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                   const Report& report, uint64_t seed, const ProductChoice& choice = {},
                   const std::function<void(double done, double all)>& progress = {},
                   double most_element_cycles = 2e11);

/// Every register of the STCE at the start of `cycle` of the first buffer tile of the first product phase
/// that is chosen, as text: the naive machine, on values drawn from `seed`. Refuses a cycle past the end, and
/// one that the naive machine would take minutes to reach.
std::string registers_at(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                         uint64_t seed, const ProductChoice& choice, int64_t cycle);

}  // namespace enmesh::accel::sat
