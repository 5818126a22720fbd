#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench/bench.hpp"
#include "cli/options/accel_options.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/accel/sat/explore.hpp"
#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/bench/bench_time.hpp"

namespace enmesh::cli {
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
    accel::SatConfig config;
    accel::Workload workload;
    accel::Schedule schedule;
};

/// A found schedule fits, survives its file, and gives a report whose cycles add up.
void verify(const Step& step) {
    check(step.config, step.workload, step.schedule, "the found schedule");
    const std::string text = accel::to_toml(step.config, step.workload, step.schedule);
    const accel::Schedule back = accel::parse_schedule(text, "schedule", step.config, step.workload);
    const accel::Report report = simulate(step.config, step.workload, back);
    int64_t cycles = 0;
    for (const accel::ProductResult& r : report.products) cycles += r.cycles;
    for (const accel::VectorResult& r : report.vector_work) cycles += r.cycles;
    const bool sums = cycles == report.total_cycles &&
                      cycles == simulate(step.config, step.workload, step.schedule).total_cycles;
    if (!sums) fail("the replayed schedule's {} cycles are not the found one's", cycles);
}

Row closed_form_row(const Step& step, int rounds) {
    int64_t sum = 0;
    const Measured measured =
        measure(rounds, [&] { sum += simulate(step.config, step.workload, step.schedule).total_cycles; });
    if (sum % (rounds + 1) != 0) fail("the closed form gives different cycles each time");
    return {"closed_form", "whole step, closed form, schedule given", "seconds", measured, 1, false, 10e-3};
}

Row search_row(const Step& step, int rounds) {
    const Measured measured = measure(rounds, [&] { find_schedule(step.config, step.workload); });
    return {"search", "exact schedule search of the step", "seconds", measured, 1, false, 2};
}

std::vector<Half> random_halves(int64_t count, uint64_t stream) {
    const Random random(1, stream);
    std::vector<Half> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = to_half(2 * Random::unit(random.at(i)) - 1);
    return values;
}

/// A tile that fills a 32 x 32 array, value by value; cycles and bits are checked before the clock starts.
Row stepped_row(accel::Dataflow dataflow, Pattern pattern, int rounds) {
    const accel::Stce stce;
    const accel::EngineProduct product{4096, 256, 1152, pattern};
    accel::EngineMapping mapping;
    mapping.dataflow = dataflow;
    mapping.interleave = 8;
    mapping.group = 8;
    const std::vector<Half> streamed = random_halves(product.m * product.k, 1),
                            weights = random_halves(product.n * product.k, 2);
    const accel::IndexedOperand indexed =
        product.dense() ? accel::dense_operand(weights, product.n, product.k, mapping.group)
                        : accel::packed_operand(weights, {}, product.n, product.k, pattern);
    const accel::EngineRun run = accel::run_stepped(stce, product, mapping, streamed, indexed);
    std::vector<float> expected(static_cast<size_t>(product.m * product.n));
    accel::software_product(streamed, indexed, expected);
    const auto same = [](float a, float b) {
        return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    };
    const std::string name =
        fmt::format("{} {}", to_string(dataflow), product.dense() ? "dense" : enmesh::to_string(pattern));
    if (!std::equal(expected.begin(), expected.end(), run.out.begin(), same))
        fail("stepped {}: its bits are not the software product's", name);
    if (run.cycles != closed_form(stce, product, mapping).cycles)
        fail("stepped {}: its {} cycles are not the closed form's", name, run.cycles);
    const Measured measured =
        measure(rounds, [&] { accel::run_stepped(stce, product, mapping, streamed, indexed); });
    Row row{"stepped " + name, "cycle-stepped, value-exact, 32 x 32", "element-cycles/s", measured};
    row.amount = static_cast<double>(run.element_cycles);
    row.rate = true;
    row.target = 5e8;
    return row;
}

Row explore_row(const Step& step, int rounds) {
    const std::array<accel::Sweep, 2> sweeps = {
        accel::parse_sweep("array=16x16,32x32,64x64"),
        accel::parse_sweep("memory.peak_bytes_per_second=19.2e9,38.4e9,76.8e9")};
    const std::vector<accel::DesignPoint> points = accel::design_points(sweeps);
    std::vector<accel::PointResult> results;
    const auto sweep = [&] {
        results.clear();
        accel::explore(
            points, step.config,
            [&](const accel::DesignPoint&) -> const accel::Workload& { return step.workload; },
            [&](const accel::PointResult& result) { results.push_back(result); });
    };
    sweep();
    for (size_t i = 0; i < points.size(); ++i) {
        const accel::SatConfig config = config_of(step.config, points[i]);
        const int64_t alone =
            simulate(config, step.workload, find_schedule(config, step.workload)).total_cycles;
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
    if (request.accel.accel != "sat") refuse("--accel {}: only sat is measured", request.accel.accel);
    require_apart({{"--json", request.json}}, input_files(request.accel));
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
    Step step{load_sat(request.accel), load_workload(request.accel), {}};
    step.schedule = find_schedule(step.config, step.workload);
    verify(step);
    std::vector<Row> rows = {closed_form_row(step, request.rounds), search_row(step, request.rounds)};
    using accel::Dataflow;
    for (const Dataflow flow : {Dataflow::ws, Dataflow::os})
        for (const Pattern pattern : {Pattern{}, Pattern{2, 8}})
            rows.push_back(stepped_row(flow, pattern, request.rounds));
    rows.push_back(explore_row(step, request.rounds));
    if (!request.json.empty()) {
        Json json = {
            {"cpu", cpu_description()}, {"subject", subject}, {"threads", 1}, {"rows", Json::array()}};
        for (const Row& row : rows) json["rows"].push_back(to_json(row));
        write_result(request.json, json.dump(1) + "\n");
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
