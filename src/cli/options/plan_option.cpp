#include "cli/options/plan_option.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/log.hpp"
#include "enmesh/base/writable.hpp"

namespace enmesh::cli {
namespace {

const std::vector<std::string>& choices() {
    static const std::vector<std::string> names{"default", "cached", "measure"};
    return names;
}

bool is_choice(const std::string& text) {
    return std::find(choices().begin(), choices().end(), text) != choices().end();
}

std::string origin(const std::string& asked, PlanSource source) {
    if (source == PlanSource::checkpoint) return "of the checkpoint";
    if (source == PlanSource::instead_of_checkpoint)
        return "not the checkpoint's, which is not available here: the bits will be others";
    if (asked == "default") return "default: the same in every run";
    if (asked == "cached") return "cached: what was measured on this machine, else the default";
    if (asked == "measure") return "measured on this machine";
    return "of " + asked;
}

}  // namespace

void add_plan_option(CLI::App& command, std::string& plan) {
    command
        .add_option(
            "--plan", plan,
            "Which kernels serve: default (untimed), cached, measure, or a file that --plan-out wrote")
        ->type_name("default|cached|measure|FILE")
        ->capture_default_str();
}

void add_plan_out_option(CLI::App& command, std::string& plan_out) {
    command.add_option("--plan-out", plan_out, "Write which kernels served, for --plan FILE")
        ->type_name("FILE");
}

std::string plan_file(const std::string& text) { return is_choice(text) ? "" : text; }

RequestedPlan requested_plan(const std::string& text) {
    if (is_choice(text)) return {.choice = cpu::parse_kernel_choice(text), .file = ""};
    std::error_code ignored;
    const bool looks_like_a_file = text.find_first_of("/.") != std::string::npos;
    if (!looks_like_a_file && !std::filesystem::exists(text, ignored)) {
        refuse("unknown plan '{}'{}; a file that --plan-out wrote is one, too", text,
               suggestion(text, choices()));
    }
    return {.file = text, .kept = cpu::parse_plan_file(read_file(text, size_t{1} << 26), text)};
}

std::string plan_text(const cpu::KernelPlan& plan, const std::string& asked, const std::string& plan_out,
                      PlanSource source) {
    const bool resumed = source != PlanSource::asked;
    const std::string name = fmt::format("kernel plan {} ({})", cpu::plan_hash(plan), origin(asked, source));
    if (!plan_out.empty()) return fmt::format("{}; --plan {} repeats it\n", name, plan_out);
    if (asked == "default" && !resumed) return name + "\n";
    if (!resumed && !is_choice(asked)) return name + "\n";
    return fmt::format("{}; --plan-out FILE keeps it, --plan FILE repeats it\n", name);
}

void note_other_machine(const RequestedPlan& plan) {
    if (!plan.kept.has_value()) return;
    const std::string text = cpu::other_machine(*plan.kept, plan.file);
    if (!text.empty()) note("{}", text);
}

void require_writable_plan(const std::string& plan_out) {
    if (plan_out == "-") refuse("--plan-out -: a file is expected");
    if (!plan_out.empty()) require_writable_file(plan_out);
}

void write_plans(const std::string& plan_out, std::vector<cpu::PlanFile::Step> steps) {
    if (plan_out.empty()) return;
    cpu::PlanFile plans = cpu::plan_file_here();
    plans.steps = std::move(steps);
    write_file(plan_out, cpu::to_text(plans));
}

}  // namespace enmesh::cli
