#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "enmesh/accel/common/accelerator.hpp"
#include "enmesh/accel/workload/workload.hpp"

/// Design-space exploration: every point is a machine and a pattern, fully scheduled.
namespace enmesh::accel {

/// A swept key and its values: a key of the machine's parameters, the common beginning of two that end in
/// .rows and .cols ("array": RxC sets both) or "pattern" (N:M or dense).
struct Sweep {
    std::string key;
    std::vector<std::string> values;
};

/// Reads "key=v1,v2,…". Refuses an empty list. Refusals here and below begin with `where`: an option of the
/// command line, say.
Sweep parse_sweep(std::string_view text, const std::string& where = "");

/// One point of the Cartesian product, as settings in the order of the sweeps.
struct DesignPoint {
    std::vector<std::pair<std::string, std::string>> settings;

    /// "array=32x32 pattern=2:8": the point's name, also in the result file.
    std::string label() const;
    /// The value of a key, or "" if it is not swept.
    std::string value(std::string_view key) const;
};
/// Refuses sweeps that the machine does not know, and two that set the same parameter.
std::vector<DesignPoint> design_points(const Accelerator& machine, std::span<const Sweep> sweeps,
                                       const std::string& where = "");

struct PointResult {
    std::string label;
    double seconds = 0;            ///< simulated, a step
    std::optional<double> joules;  ///< a step; nothing if the machine's energy is not modelled
    int64_t elements = 0;
    int64_t total_cycles = 0;
    std::string error;  ///< why the point cannot run; then it has no figures
    bool pareto = false;
};

/// The point's machine: `base` with the point's settings. Refuses what apply_setting refuses.
std::unique_ptr<Accelerator> machine_of(const Accelerator& base, const DesignPoint& point,
                                        const std::string& where = "");

/// Schedules and simulates one point; a machine that cannot run the workload gives a result with `error`.
PointResult evaluate(const Accelerator& machine, const Workload& workload, const std::string& label,
                     PlanCache* cache);

/// Runs `evaluate` for every point on all threads() cores, with one cache for all, and hands each result to
/// `done` (one at a time, in no fixed order). `workload_of_point` must be callable from several threads. An
/// exception in either ends the run and is rethrown.
void explore(std::span<const DesignPoint> points, const Accelerator& base,
             const std::function<const Workload&(const DesignPoint&)>& workload_of_point,
             const std::function<void(const PointResult&)>& done);

/// Marks the results that no other beats in time, energy and elements at once. Points with and without energy
/// are not compared; points without are compared in time and elements.
void mark_pareto(std::span<PointResult> results);

/// Time against energy, both logarithmic; the area of a mark grows with the elements; the Pareto front is
/// filled and named. Without energy time against elements.
std::string to_svg(std::span<const PointResult> results, const std::string& title);

}  // namespace enmesh::accel
