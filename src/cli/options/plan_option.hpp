#pragma once

#include <optional>
#include <string>
#include <vector>

#include "enmesh/cpu/plan_file.hpp"

namespace CLI {
class App;
}

namespace enmesh::cli {

/// What --plan asks for: a choice, or plans that were kept in a file.
struct RequestedPlan {
    cpu::KernelChoice choice = cpu::KernelChoice::defaults;
    std::string file;  ///< "" for a choice
    std::optional<cpu::PlanFile> kept{};
};

/// --plan; what it is given must outlive the parsing.
void add_plan_option(CLI::App& command, std::string& plan);
/// --plan-out.
void add_plan_out_option(CLI::App& command, std::string& plan_out);
/// Reads default, cached, measure or a file. Refuses what is none of them with the nearest name.
RequestedPlan requested_plan(const std::string& text);
/// The file that --plan names; "" for a choice.
std::string plan_file(const std::string& text);

/// Where the plan that serves comes from: --plan, the checkpoint of a resumed run, or neither because this machine
/// cannot follow the checkpoint's.
enum class PlanSource { asked, checkpoint, instead_of_checkpoint };
/// "kernel plan 0123456789abcdef (cached: …)": which plan serves and how to have it again, one line.
std::string plan_text(const cpu::KernelPlan& plan, const std::string& asked, const std::string& plan_out,
                      PlanSource source = PlanSource::asked);
/// To standard error, where kept plans are another machine's.
void note_other_machine(const RequestedPlan& plan);
/// Refuses, before the work, a --plan-out that cannot be written; standard output is none.
void require_writable_plan(const std::string& plan_out);
/// Writes the plans of --plan-out, where it was given.
void write_plans(const std::string& plan_out, std::vector<cpu::PlanFile::Step> steps);

}  // namespace enmesh::cli
