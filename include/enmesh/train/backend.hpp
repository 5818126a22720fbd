#pragma once

#include <functional>
#include <memory>
#include <string>

#include "enmesh/cpu/kernel_plan.hpp"
#include "enmesh/cpu/plan_file.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/tensor/dtype.hpp"

namespace enmesh {

/// What a simulated machine takes and uses.
struct SimulatedCost {
    double seconds_per_batch = 0, joules_per_batch = 0;    ///< FF, BP and WG of a micro-batch
    double seconds_per_update = 0, joules_per_update = 0;  ///< WU

    friend bool operator==(const SimulatedCost&, const SimulatedCost&) = default;
};

/// Where steps run. A kernel plan is a text that the executor understands; an empty one lets it choose.
struct Backend {
    std::string name;
    std::function<std::unique_ptr<Executor>(TrainingStep step, const std::string& plan)> make;
    std::function<std::string(const Executor& executor)> plan{};  ///< what `make` was given or chose
    /// Products read binary16, so that the loss is scaled.
    bool half_operands = false;
    /// What products multiply: see cpu::Options.
    DType dtype = DType::f32;
    /// For a backend that stands for a simulated machine.
    std::function<SimulatedCost(const TrainingStep& step)> cost{};
};

/// This machine's processor, with the threads that set_threads() allowed.
/// `choice` decides what a plan leaves open: by default nothing is timed, and no cache is read or written.
/// `dtype` is f32 or bf16, others are refused.
Backend cpu_backend(cpu::KernelChoice choice = cpu::KernelChoice::defaults, DType dtype = DType::f32);
/// The same with kept plans: a step that is made without a plan takes its own from `plans`, whose file is
/// called `file` in refusals.
Backend cpu_backend(const cpu::PlanFile& plans, const std::string& file, DType dtype = DType::f32);

}  // namespace enmesh
