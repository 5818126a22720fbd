#pragma once

#include <functional>
#include <memory>
#include <string>

#include "enmesh/cpu/kernel_plan.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {

/// Where steps run. A kernel plan is a text that the executor understands; an empty one lets it choose.
struct Backend {
    std::string name;
    std::function<std::unique_ptr<Executor>(TrainingStep step, const std::string& plan)> make;
    std::function<std::string(const Executor& executor)> plan{};  ///< what `make` was given or chose
};

/// This machine's processor, with the threads that set_threads() allowed.
/// `choice` decides what a plan leaves open.
Backend cpu_backend(cpu::KernelChoice choice = cpu::KernelChoice::cached);

}  // namespace enmesh
