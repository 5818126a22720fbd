#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/options/accel_options.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/timer.hpp"

namespace enmesh::cli {
namespace {

struct Options {
    AccelOptions accel;
    std::string out, check, json;
};

void run(const Options& options) {
    require_facility(*named_machine(options.accel), accel::Facility::schedule, "schedule");
    if (!options.check.empty() && (!options.out.empty() || !options.json.empty()))
        refuse("--check writes nothing: leave out {}", options.out.empty() ? "--json" : "--out");
    const std::unique_ptr<accel::Accelerator> machine = load_machine(options.accel);
    require_apart({{"--out", options.out}, {"--json", options.json}},
                  input_files(options.accel, machine.get()));
    require_writable_results({options.out, options.json});
    const accel::Workload workload = load_workload(options.accel);
    if (!options.check.empty()) {
        accel::read_schedule(*machine, options.check, workload);
        std::fprintf(stderr, "%s fits the network and the machine\n", options.check.c_str());
        return;
    }
    const Timer timer;
    const accel::SchedulePtr schedule = machine->plan(workload);
    const double seconds = timer.seconds();
    const std::string text = machine->schedule_text(workload, *schedule);
    write_result(options.out.empty() ? "-" : options.out, text);
    const accel::Report report = machine->cost(workload, *schedule);
    if (!options.json.empty()) {
        const nlohmann::ordered_json joules = report.energy_table.empty()
                                                  ? nlohmann::ordered_json(nullptr)
                                                  : nlohmann::ordered_json(report.energy.total());
        const nlohmann::ordered_json json = {{"products", workload.products.size()},
                                             {"search_seconds", seconds},
                                             {"total_cycles", report.total_cycles},
                                             {"seconds", report.seconds},
                                             {"joules", joules}};
        write_result(options.json, json_document(json, 1));
    }
    std::fprintf(stderr, "%zu products scheduled in %.3f s: %lld cycles, %.6g s a step (simulated)\n",
                 workload.products.size(), seconds, static_cast<long long>(report.total_cycles),
                 report.seconds);
}

}  // namespace

void add_schedule(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "schedule", "Find the fastest schedule of a training step on an accelerator, and write or check it");
    add_workload_options(*command, options->accel);
    add_machine_options(*command, options->accel);
    command->add_option("--out", options->out, "schedule file (TOML); standard output if left out");
    command->add_option("--check", options->check, "check this schedule against network and machine instead");
    command->add_option("--json", options->json, "summary as JSON (with --out, - is standard output)");
    command->footer(
        "Examples:\n"
        "  enmesh schedule --model resnet18 --batch 512 --method bdwp --pattern 2:8 --out "
        "resnet18.schedule.toml\n"
        "  enmesh simulate --model resnet18 --batch 512 --method bdwp --pattern 2:8 --schedule "
        "resnet18.schedule.toml\n"
        "  enmesh schedule --model resnet18 --batch 512 --set features.dataflow=ws --check "
        "resnet18.schedule.toml");
    command->callback([options] {
        if (options->json == "-" && options->out.empty() && options->check.empty())
            refuse("--json - needs --out FILE: the schedule would go to standard output too");
        run(*options);
    });
}

}  // namespace enmesh::cli
