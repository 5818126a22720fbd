#include "enmesh/train/backend.hpp"

#include "enmesh/cpu/executor.hpp"

namespace enmesh {

Backend cpu_backend(cpu::KernelChoice choice, DType dtype) {
    const auto make = [choice, dtype](TrainingStep step,
                                      const std::string& plan) -> std::unique_ptr<Executor> {
        cpu::Options options;
        options.choice = choice;
        options.dtype = dtype;
        if (!plan.empty()) options.plan = cpu::parse_kernel_plan(plan);
        return cpu::make_executor(std::move(step), options);
    };
    const auto plan_of = [](const Executor& executor) {
        return cpu::to_text(dynamic_cast<const cpu::CpuExecutor&>(executor).plan());
    };
    return {.name = "cpu", .make = make, .plan = plan_of, .dtype = dtype};
}

}  // namespace enmesh
