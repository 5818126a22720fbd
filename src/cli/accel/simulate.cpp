#include "enmesh/accel/simulate.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/commands.hpp"
#include "cli/options/accel_options.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/report/line_meter.hpp"

namespace enmesh::cli {
namespace {

struct Options {
    AccelOptions accel;
    std::string json, csv, trace, schedule, out;
    bool print_config = false, exact = false;
    std::optional<int64_t> seed;  ///< 1 if not given
    std::string layer, stage;
    std::optional<int64_t> state_at;
};

accel::ProductChoice chosen(const Options& options) {
    accel::ProductChoice choice{options.layer, {}};
    if (options.stage.empty()) return choice;
    const std::vector<std::string> known = {"FF", "BP", "WG"};
    const auto found = std::find(known.begin(), known.end(), options.stage);
    if (found == known.end())
        refuse("--stage {}: no such stage{}", options.stage, suggestion(options.stage, known));
    choice.stage = std::array{Stage::FF, Stage::BP, Stage::WG}[static_cast<size_t>(found - known.begin())];
    return choice;
}

uint64_t seed_of(const Options& options) { return static_cast<uint64_t>(options.seed.value_or(1)); }

/// Whether --out also receives the machine's schedule and the configuration that it fits.
bool keeps_its_setting(const accel::Accelerator& machine) {
    return machine.lacks(accel::Facility::schedule).empty();
}

accel::SchedulePtr schedule_of(const Options& options, const accel::Accelerator& machine,
                               const accel::Workload& workload) {
    return options.schedule.empty() ? machine.plan(workload)
                                    : accel::read_schedule(machine, options.schedule, workload);
}

void print_registers(const Options& options, const accel::Accelerator& machine) {
    const accel::Workload workload = load_workload(options.accel);
    const accel::SchedulePtr schedule = schedule_of(options, machine, workload);
    const accel::ProductChoice choice = chosen(options);
    const std::string text = in_the_name_of(fmt::format("--state-at {}", *options.state_at), [&] {
        return machine.registers(workload, *schedule, seed_of(options), choice, *options.state_at);
    });
    write_result("-", text);
}

std::string exact_text(const accel::ExactRun& exact) {
    return fmt::format(
        "exact: {} products in {} buffer tiles{}, {:.4g} element-cycles, {} outputs: cycles as reported, "
        "bits "
        "as in software ({:.1f} s, {:.3g} element-cycles/s)\n",
        exact.products, exact.tiles, exact.whole ? "" : " (one of each kind)",
        static_cast<double>(exact.element_cycles), exact.outputs, exact.host_seconds,
        static_cast<double>(exact.element_cycles) / exact.host_seconds);
}

accel::ExactRun run_exact(const Options& options, const accel::Accelerator& machine,
                          const accel::Workload& workload, const accel::Schedule& schedule,
                          const accel::Report& report) {
    report::LineMeter meter;
    const Timer timer;
    const auto progress = [&](double done, double all) {
        if (!meter.due()) return;
        meter.show(fmt::format("exact: {:.3g} of {:.3g} element-cycles, {} left", done, all,
                               report::format_duration(timer.seconds() * (all / done - 1))));
    };
    const accel::ProductChoice choice = chosen(options);
    return in_the_name_of("--exact", [&] {
        return machine.execute(workload, schedule, report,
                               {.seed = seed_of(options), .choice = choice, .progress = progress});
    });
}

/// What a run leaves: written at the end, so that a refused one leaves nothing.
struct Outcome {
    accel::Report report;
    std::string schedule, config;  ///< texts for --out; "" if the machine has no scheduler
};

Outcome run_machine(const Options& options, const accel::Accelerator& machine) {
    const accel::Workload workload = load_workload(options.accel);
    print_note(machine, workload);
    const accel::SchedulePtr schedule = schedule_of(options, machine, workload);
    Outcome outcome{machine.cost(workload, *schedule), {}, {}};
    if (!options.out.empty() && keeps_its_setting(machine)) {
        outcome.schedule = machine.schedule_text(workload, *schedule);
        outcome.config = accel::config_text(machine);
    }
    if (options.exact) {
        const accel::ExactRun exact = run_exact(options, machine, workload, *schedule, outcome.report);
        std::fputs(exact_text(exact).c_str(), stderr);
        outcome.report.exact = exact;
    }
    return outcome;
}

void write_all(const Options& options, const Outcome& outcome) {
    const accel::Report& report = outcome.report;
    if (!options.out.empty()) {
        make_writable_directory(options.out);
        if (!outcome.schedule.empty()) write_file(options.out + "/schedule.toml", outcome.schedule);
        if (!outcome.config.empty()) write_file(options.out + "/config.toml", outcome.config);
        write_file(options.out + "/report.json", accel::to_json(report));
        write_file(options.out + "/report.csv", accel::to_csv(report));
        write_file(options.out + "/trace.json", accel::to_trace(report));
    }
    if (!options.trace.empty()) write_result(options.trace, accel::to_trace(report));
    if (!options.csv.empty()) write_result(options.csv, accel::to_csv(report));
    if (!options.json.empty()) write_result(options.json, accel::to_json(report));
    if (options.json != "-" && options.csv != "-" && options.trace != "-")
        write_result("-", accel::to_table(report));
}

/// Refuses options that would be ignored.
void check_options(const Options& options, const accel::Accelerator& machine) {
    const bool steps = options.exact, shows = options.state_at.has_value();
    const std::array<std::pair<const char*, bool>, 4> files = {{{"--json", !options.json.empty()},
                                                                {"--csv", !options.csv.empty()},
                                                                {"--trace", !options.trace.empty()},
                                                                {"--out", !options.out.empty()}}};
    if (options.print_config) {
        const bool names_step = !options.accel.model.model.empty() || !options.accel.topology.empty();
        if (names_step || steps || shows || !options.schedule.empty())
            refuse(
                "--print-config prints the machine alone and stops: leave out --model, --topology, "
                "--schedule, --exact and --state-at");
    }
    for (const auto& [name, given] : files)
        if (given && (options.print_config || shows))
            refuse("{} writes no report: leave out {}", shows ? "--state-at" : "--print-config", name);
    if ((options.json == "-") + (options.csv == "-") + (options.trace == "-") > 1)
        refuse("only one of --json, --csv and --trace can go to standard output");
    if (!options.schedule.empty()) require_facility(machine, accel::Facility::schedule, "--schedule");
    if (steps) require_facility(machine, accel::Facility::exact, "--exact");
    if (shows) require_facility(machine, accel::Facility::registers, "--state-at");
    if (steps && shows) refuse("--exact and --state-at exclude each other");
    const bool chooses = !options.layer.empty() || !options.stage.empty();
    if (chooses && !steps && !shows) refuse("--layer and --stage go with --exact or --state-at");
    if (options.seed.value_or(0) < 0) refuse("--seed {}: must be 0 or more", *options.seed);
    if (options.seed.has_value() && !steps && !shows) refuse("--seed goes with --exact or --state-at");
}

void check_files(const Options& options, const accel::Accelerator& machine) {
    std::vector<NamedFile> inputs = input_files(options.accel, &machine);
    inputs.push_back({"--schedule", options.schedule});
    std::vector<NamedFile> outputs = {
        {"--json", options.json}, {"--csv", options.csv}, {"--trace", options.trace}};
    if (!options.out.empty()) {
        std::vector<std::string> names = {"report.json", "report.csv", "trace.json"};
        if (keeps_its_setting(machine)) names.insert(names.end(), {"schedule.toml", "config.toml"});
        for (const std::string& name : names)
            outputs.push_back({"--out", std::filesystem::path(options.out) / name});
    }
    require_apart(outputs, inputs);
    require_writable_results({options.json, options.csv, options.trace}, options.out);
}

void run(const Options& options) {
    check_options(options, *named_machine(options.accel));
    // Read once: a pipe holds it only once.
    const std::unique_ptr<accel::Accelerator> machine = load_machine(options.accel);
    if (options.print_config) {
        write_result("-", accel::config_text(*machine));
        return;
    }
    if (options.state_at.has_value()) return print_registers(options, *machine);
    check_files(options, *machine);
    write_all(options, run_machine(options, *machine));
}

}  // namespace

void add_simulate(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "simulate", "What a training step costs on an accelerator: cycles, seconds, joules, layer by layer");
    add_workload_options(*command, options->accel);
    add_machine_options(*command, options->accel);
    command->add_option("--json", options->json, "result as JSON; - for standard output");
    command->add_option("--csv", options->csv, "result as CSV; - for standard output");
    command->add_option("--trace", options->trace, "Chrome trace (opens in Perfetto); - for standard output");
    command->add_option("--schedule", options->schedule,
                        "replay this schedule instead of searching one (enmesh schedule writes it)");
    command->add_flag(
        "--exact", options->exact,
        "also run every product value by value through the cycle-stepped array, and compare cycles and bits");
    command
        ->add_option("--state-at", options->state_at,
                     "print every register of the array at the start of a cycle of one product, and stop")
        ->type_name("CYCLE");
    command->add_option("--layer", options->layer,
                        "the layer that --exact and --state-at run (all; the first)");
    command->add_option("--stage", options->stage, "its product: FF, BP or WG (all; the first)");
    command->add_option("--seed", options->seed, "of the values of --exact and --state-at (1)");
    command->add_option("--out", options->out,
                        "folder for report.json, report.csv, trace.json, and, where the machine has a "
                        "scheduler, schedule.toml "
                        "and config.toml");
    command->add_flag(
        "--print-config", options->print_config,
        "print the accelerator's parameters as commented TOML, defaults and settings applied, and stop");
    command->footer(
        "Examples:\n"
        "  enmesh simulate --model resnet18 --batch 512 --method bdwp --pattern 2:8 --accel sat --out "
        "runs/sim\n"
        "  enmesh simulate --model resnet50 --classes 1000 --image 3x224x224 --batch 512 --set rows=64 --set "
        "cols=64 --json -\n"
        "  enmesh simulate --model lenet5 --batch 2 --exact\n"
        "  enmesh simulate --model resnet9 --batch 4 --method bdwp --pattern 2:8 --exact --layer res1.conv1\n"
        "  enmesh simulate --model lenet5 --batch 1 --set rows=2 --set cols=2 --layer conv2 --stage FF "
        "--state-at 40\n"
        "  enmesh simulate --topology resnet18.csv --accel systolic --set rows=32 --set cols=32 --dataflow "
        "ws\n"
        "  enmesh simulate --model resnet50 --classes 1000 --image 3x224x224 --batch 256 --method asp "
        "--pattern 2:4 --accel "
        "stc-a100\n"
        "  enmesh simulate --model resnet18 --batch 512 --method bdwp --pattern 2:8 --accel sat+systolic "
        "--set "
        "systolic.frequency_hz=2e8\n"
        "      --set mixed.turns='side by side'\n"
        "  enmesh simulate --print-config > sat.toml");
    command->callback([options] { run(*options); });
}

}  // namespace enmesh::cli
