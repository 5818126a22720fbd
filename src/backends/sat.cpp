#include "enmesh/backends/sat.hpp"

#include "enmesh/accel/sat/arithmetic/sat_products.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/cpu/executor.hpp"

namespace enmesh {
namespace {

/// The step without what runs once an update.
accel::Workload gradients_alone(const accel::Workload& step) {
    accel::Workload gradients = step;
    gradients.updates.clear();
    std::erase_if(gradients.vector_ops, [](const accel::VectorOp& op) { return op.stage == Stage::WU; });
    return gradients;
}

SimulatedCost cost_of(const accel::SatConfig& config, const TrainingStep& step) {
    const accel::Workload whole = accel::workload_of(step);
    const accel::sat::Schedule schedule = accel::sat::find_schedule(config, whole);
    const accel::Report all = accel::sat::simulate(config, whole, schedule);
    const accel::Report batch = accel::sat::simulate(config, gradients_alone(whole), schedule);
    return {.seconds_per_batch = batch.seconds,
            .joules_per_batch = batch.energy.total(),
            .seconds_per_update = all.seconds - batch.seconds,
            .joules_per_update = all.energy.total() - batch.energy.total()};
}

}  // namespace

Backend sat_backend(const accel::SatConfig& config) {
    const auto make = [](TrainingStep step, const std::string&) -> std::unique_ptr<Executor> {
        cpu::Options options;
        options.products = accel::sat::sat_products();
        return cpu::make_executor(std::move(step), options);
    };
    const auto plan_of = [](const Executor& executor) {
        return cpu::to_text(dynamic_cast<const cpu::CpuExecutor&>(executor).plan());
    };
    return {.name = "sat",
            .make = make,
            .plan = plan_of,
            .half_operands = true,
            .cost = [config](const TrainingStep& step) { return cost_of(config, step); }};
}

}  // namespace enmesh
