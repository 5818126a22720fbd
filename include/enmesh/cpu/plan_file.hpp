#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/base/isa.hpp"
#include "enmesh/cpu/kernel_plan.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::cpu {

/// What the plan of a step depends on, as a text: its products in full with shapes and patterns, of the other
/// operations what they are and how large. "a step of 52 operations, f32, 0123456789abcdef".
std::string step_key(const TrainingStep& step, DType dtype);

/// 16 hexadecimal digits that name a plan: equal plans have equal ones on every machine.
std::string plan_hash(const KernelPlan& plan);

/// Plans of one or more steps with the machine that they were made on: what a user keeps to repeat a run.
struct PlanFile {
    struct Step {
        std::string key;  ///< step_key()
        KernelPlan plan;

        friend bool operator==(const Step&, const Step&) = default;
    };
    std::string isa;  ///< to_string(enmesh::isa())
    /// What else the bits depend on: processor, threads, oneDNN's version, "without Winograd".
    std::string machine;
    std::vector<Step> steps;

    friend bool operator==(const PlanFile&, const PlanFile&) = default;
};

/// No steps yet, and this machine as it is set up now.
PlanFile plan_file_here();

/// JSON and back. Refuses what is no plan file, naming `file`.
std::string to_text(const PlanFile& plans);
PlanFile parse_plan_file(std::string_view text, const std::string& file);

/// The plan of this step. Refuses plans of other steps, and of another instruction set, naming `file`.
KernelPlan plan_for(const PlanFile& plans, const TrainingStep& step, DType dtype, const std::string& file);

/// Refuses if an executor that was made with `asked` uses another kernel or layout than it names.
void require_used(const KernelPlan& asked, const KernelPlan& used, const std::string& file);

/// One line if the plans were made on another machine of the same instruction set, so that the bits may be
/// others than there; "" if not.
std::string other_machine(const PlanFile& plans, const std::string& file);

}  // namespace enmesh::cpu
