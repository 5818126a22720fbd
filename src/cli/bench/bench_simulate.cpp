#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench/bench.hpp"
#include "cli/options/accel_options.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/accel/common/explore.hpp"
#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/bench/bench_time.hpp"

namespace enmesh::cli {
using namespace bench;
namespace {

using Json = nlohmann::ordered_json;

struct Request {
    AccelOptions accel;
    std::string json;
    int rounds = 7;
};

struct Measured {
    std::vector<double> seconds;

    double median() const { return cli::median(seconds); }
    double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
    double most() const { return *std::max_element(seconds.begin(), seconds.end()); }
};

/// One untimed call, then the timed ones. Everything here runs on one thread.
Measured measure(int rounds, const auto& work) {
    work();
    Measured measured;
    for (int round = 0; round < rounds; ++round) {
        const double begin = processor_seconds();
        work();
        measured.seconds.push_back(processor_seconds() - begin);
    }
    return measured;
}

/// A line of the result: `amount` of `unit` in a run of `measured`.
struct Row {
    std::string name, what, unit;
    Measured measured;
    double amount = 1;  ///< the figure is seconds if `rate` is off, amount a second if it is on
    bool rate = false;
    double target = 0;
    bool met() const { return rate ? figure() >= target : figure() <= target; }
    double figure() const { return rate ? amount / measured.median() : measured.median(); }
};

struct Step {
    std::unique_ptr<accel::Accelerator> machine;
    accel::Workload workload;
    accel::SchedulePtr schedule;
};

/// A found schedule fits, survives its file, and gives a report whose cycles add up. The step goes on with
/// the schedule as it was read: it does not hold the costs that the search found, which the closed form must
/// compute.
void verify(Step& step) {
    const accel::Accelerator& machine = *step.machine;
    const accel::Report found = machine.cost(step.workload, *step.schedule);
    if (machine.lacks(accel::Facility::schedule).empty()) {
        const std::string text = machine.schedule_text(step.workload, *step.schedule);
        step.schedule = accel::parse_schedule(machine, text, "the found schedule", step.workload);
    }
    const accel::Report report = machine.cost(step.workload, *step.schedule);
    int64_t cycles = 0;
    for (const accel::ProductResult& r : report.products) cycles += r.cycles;
    for (const accel::VectorResult& r : report.vector_work) cycles += r.cycles;
    const bool sums = report.side_by_side ? cycles >= report.total_cycles : cycles == report.total_cycles;
    if (!sums || report.total_cycles != found.total_cycles)
        fail("the replayed schedule's {} cycles are not the found one's", cycles);
}

Row closed_form_row(const Step& step, int rounds) {
    int64_t sum = 0;
    const Measured measured =
        measure(rounds, [&] { sum += step.machine->cost(step.workload, *step.schedule).total_cycles; });
    if (sum % (rounds + 1) != 0) fail("the closed form gives different cycles each time");
    return {"closed_form", "whole step, closed form, schedule given", "seconds", measured, 1, false, 10e-3};
}

Row search_row(const Step& step, int rounds) {
    const Measured measured = measure(rounds, [&] { step.machine->plan(step.workload); });
    return {"search", "exact schedule search of the step", "seconds", measured, 1, false, 2};
}

Row model_row(const accel::ModelBenchmark& benchmark, int rounds) {
    Row row{benchmark.name, benchmark.what, benchmark.unit, measure(rounds, benchmark.run)};
    row.amount = benchmark.amount;
    row.rate = true;
    row.target = benchmark.target;
    return row;
}

Row explore_row(const Step& step, int rounds) {
    std::vector<accel::Sweep> sweeps;
    for (const std::string& text : step.machine->sample_sweeps()) sweeps.push_back(accel::parse_sweep(text));
    const std::vector<accel::DesignPoint> points = accel::design_points(*step.machine, sweeps);
    std::vector<accel::PointResult> results;
    const auto sweep = [&] {
        results.clear();
        accel::explore(
            points, *step.machine,
            [&](const accel::DesignPoint&) -> const accel::Workload& { return step.workload; },
            [&](const accel::PointResult& result) { results.push_back(result); });
    };
    sweep();
    for (size_t i = 0; i < points.size(); ++i) {
        const int64_t alone = simulate(*machine_of(*step.machine, points[i]), step.workload).total_cycles;
        if (results[i].total_cycles != alone || !results[i].error.empty())
            fail("explore {}: {} cycles, alone {}", results[i].label, results[i].total_cycles, alone);
    }
    Row row{"explore", "design points, each fully scheduled", "points/s", measure(rounds, sweep)};
    row.amount = static_cast<double>(points.size());
    row.rate = true;
    row.target = 10;
    return row;
}

Json to_json(const Row& row) {
    return {{"name", row.name},
            {"unit", row.unit},
            {"figure", row.figure()},
            {"target", row.target},
            {"median", row.measured.median()},
            {"min", row.measured.least()},
            {"max", row.measured.most()},
            {"rounds", row.measured.seconds.size()}};
}

std::string shown(double figure, const Row& row) {
    if (row.unit == "seconds") return fmt::format("{:.4g} ms", figure * 1e3);
    if (row.unit == "points/s") return fmt::format("{:.4g} /s", figure);
    return fmt::format("{:.4g} G/s", figure * 1e-9);
}

std::string to_table(const std::vector<Row>& rows, const std::string& subject) {
    std::string text = fmt::format(
        "{}, one core, processor time\n{}\nmedian of {} runs; everything below is checked before it is "
        "timed\n\n"
        "{:<18}{:<42}{:>12}{:>12}{:>12}{:>12}\n",
        cpu_description(), subject, rows.front().measured.seconds.size(), "", "", "median", "best", "worst",
        "target");
    for (const Row& row : rows) {
        const auto of = [&](double seconds) { return shown(row.rate ? row.amount / seconds : seconds, row); };
        text += fmt::format("{:<18}{:<42}{:>12}{:>12}{:>12}{:>12}{}\n", row.name, row.what,
                            of(row.measured.median()), of(row.measured.least()), of(row.measured.most()),
                            (row.rate ? "> " : "< ") + shown(row.target, row), row.met() ? "" : "  missed");
    }
    return text;
}

void run(Request request) {
    if (request.rounds < 1) refuse("--rounds is {}, at least 1 is expected", request.rounds);
    require_apart({{"--json", request.json}}, input_files(request.accel));
    require_writable_results({request.json});
    set_threads(1);
    std::string subject = "a topology file";
    if (request.accel.topology.empty()) {
        ModelRequest& model = request.accel.model;
        if (model.model.empty()) {
            model.model = "resnet50";
            model.classes = 1000;
            model.image = "3x224x224";
        }
        subject = fmt::format("{} batch {}, {} {}", model.model, model.batch, model.method, model.pattern);
    }
    Step step{load_machine(request.accel), load_workload(request.accel), {}};
    step.schedule = step.machine->plan(step.workload);
    verify(step);
    std::vector<Row> rows = {closed_form_row(step, request.rounds)};
    if (step.machine->lacks(accel::Facility::schedule).empty())
        rows.push_back(search_row(step, request.rounds));
    for (const accel::ModelBenchmark& benchmark : step.machine->benchmarks())
        rows.push_back(model_row(benchmark, request.rounds));
    if (!step.machine->sample_sweeps().empty()) rows.push_back(explore_row(step, request.rounds));
    if (!request.json.empty()) {
        Json json = {
            {"cpu", cpu_description()}, {"subject", subject}, {"threads", 1}, {"rows", Json::array()}};
        for (const Row& row : rows) json["rows"].push_back(to_json(row));
        write_result(request.json, json_document(json, 1));
    }
    if (request.json != "-") write_result("-", to_table(rows, subject));
}

}  // namespace

void add_bench_simulate(CLI::App& bench) {
    const auto request = std::make_shared<Request>();
    request->accel.model.batch = 512;
    request->accel.model.method = "bdwp";
    request->accel.model.pattern = "2:8";
    CLI::App* const command = bench.add_subcommand(
        "simulate",
        "Time the accelerator models on one core: closed form, schedule search, cycle stepping, exploration");
    add_workload_options(*command, request->accel);
    add_machine_options(*command, request->accel);
    command->add_option("--rounds", request->rounds, "timed runs of each")->capture_default_str();
    command->add_option("--json", request->json, "result as JSON; - for standard output");
    command->footer(
        "Without --model the step is ResNet-50's (ImageNet, batch 512) with BDWP 2:8.\n\n"
        "Examples:\n"
        "  enmesh bench simulate\n"
        "  enmesh bench simulate --model resnet18 --batch 512 --method sdgp --pattern 1:8 --rounds 15 --json "
        "-");
    command->callback([request] { run(*request); });
}

}  // namespace enmesh::cli
