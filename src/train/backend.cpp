#include "enmesh/train/backend.hpp"

#include "enmesh/base/error.hpp"
#include "enmesh/cpu/executor.hpp"

namespace enmesh {
namespace {

std::string plan_of(const Executor& executor) {
    return cpu::to_text(dynamic_cast<const cpu::CpuExecutor&>(executor).plan());
}

/// What make() refuses, with the file in front that led to it.
template <typename Make>
auto naming(const std::string& file, const Make& make) {
    try {
        return make();
    } catch (const Error& error) {
        if (file.empty()) throw;
        throw Error(error.kind(), file + ": " + error.what());
    }
}

}  // namespace

Backend cpu_backend(cpu::KernelChoice choice, DType dtype) {
    const auto make = [choice, dtype](TrainingStep step,
                                      const std::string& plan) -> std::unique_ptr<Executor> {
        cpu::Options options;
        options.choice = choice;
        options.dtype = dtype;
        if (!plan.empty()) options.plan = cpu::parse_kernel_plan(plan);
        return cpu::make_executor(std::move(step), options);
    };
    return {.name = "cpu", .make = make, .plan = plan_of, .dtype = dtype};
}

Backend cpu_backend(const cpu::PlanFile& plans, const std::string& file, DType dtype) {
    const auto make = [plans, file, dtype](TrainingStep step,
                                           const std::string& plan) -> std::unique_ptr<Executor> {
        cpu::Options options;
        options.dtype = dtype;
        options.plan = plan.empty() ? cpu::plan_for(plans, step, dtype, file) : cpu::parse_kernel_plan(plan);
        auto executor =
            naming(plan.empty() ? file : "", [&] { return cpu::make_executor(std::move(step), options); });
        if (plan.empty()) cpu::require_used(options.plan, executor->plan(), file);
        return executor;
    };
    return {.name = "cpu", .make = make, .plan = plan_of, .dtype = dtype};
}

}  // namespace enmesh
