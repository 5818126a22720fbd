#include "enmesh/accel/mixed/mixed.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "accel/refusal.hpp"
#include "accel/small_network.hpp"
#include "enmesh/accel/common/explore.hpp"
#include "enmesh/accel/sat/machine.hpp"
#include "enmesh/accel/simulate.hpp"
#include "enmesh/accel/systolic/machine.hpp"
#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::accel {
namespace {

using Settings = std::vector<std::string>;

std::unique_ptr<Accelerator> both(const Settings& settings = {}) {
    auto machine = make_accelerator("sat+systolic");
    configure(*machine, "", settings, "--set");
    return machine;
}

Workload network_step(const std::string& method) {
    const ModelOptions options{.classes = 10, .image = {3, 32, 32}, .batch = 8};
    const Recipe recipe = method == "dense" ? Recipe{} : make_recipe(method, Pattern{2, 4});
    Workload workload = workload_of(build_training_step(build_model("resnet9", options), recipe, {}));
    workload.name = "resnet9";
    return workload;
}

TEST(Mixed, InTurnIsTheSumOfWhatEachEngineTakes) {
    const Workload step = network_step("bdwp");
    const auto machine = both({"systolic.frequency_hz=2e8", "systolic.rows=16"});
    const Report whole = simulate(*machine, step);
    const Report sat = simulate(sat::Machine(), step),
                 dense = simulate(systolic::Machine({.rows = 16}), step);
    int64_t sum = 0;
    for (size_t i = 0; i < step.products.size(); ++i) {
        const bool gradient = step.products[i].stage == Stage::WG;
        const ProductResult& alone = (gradient ? dense : sat).products[i];
        EXPECT_EQ(whole.products[i].cycles, alone.cycles) << step.products[i].layer;
        EXPECT_EQ(whole.products[i].dataflow, alone.dataflow);
        EXPECT_EQ(std::get<std::string>(whole.products[i].figures.front().value),
                  gradient ? "systolic" : "sat");
        sum += alone.cycles;
    }
    ASSERT_EQ(whole.vector_work.size(), sat.vector_work.size());
    for (const VectorResult& result : sat.vector_work) sum += result.cycles;
    EXPECT_EQ(whole.total_cycles, sum);
    EXPECT_EQ(whole.seconds, static_cast<double>(sum) / 2e8);
    ASSERT_EQ(whole.engines.size(), 2U);
    EXPECT_EQ(whole.engines[0].busy_cycles + whole.engines[1].busy_cycles, sum);
    EXPECT_EQ(whole.elements, 32 * 32 + 16 * 32);
}

TEST(Mixed, EachEngineCanRunEachStage) {
    const Workload step = network_step("bdwp");
    for (const std::string stage : {"ff", "bp", "wg"}) {
        Settings settings = {"mixed.ff=systolic", "mixed.bp=systolic", "mixed.wg=systolic",
                             "mixed." + stage + "=sat"};
        const Report report = simulate(*both(settings), step);
        for (const ProductResult& result : report.products) {
            const bool here = std::string(to_string(result.product.stage)) == (stage == "ff"   ? "FF"
                                                                               : stage == "bp" ? "BP"
                                                                                               : "WG");
            EXPECT_EQ(std::get<std::string>(result.figures.front().value), here ? "sat" : "systolic");
        }
        EXPECT_FALSE(report.vector_work.empty());
    }
    const Report idle = simulate(*both({"mixed.wg=sat", "systolic.rows=8"}), step);
    ASSERT_EQ(idle.engines.size(), 2U);
    EXPECT_EQ(idle.engines[0].busy_cycles, idle.total_cycles);
    EXPECT_EQ(idle.engines[1].name, "systolic");
    EXPECT_EQ(idle.engines[1].elements, 8 * 32);
    EXPECT_EQ(idle.engines[1].busy_cycles, 0);
    EXPECT_GT(idle.static_watts, 0);
    EXPECT_EQ(simulate(*both(), step).static_watts, 0) << "unknown, as the step's energy";
    const Report none = simulate(*both({"mixed.vector=systolic"}), step);
    EXPECT_TRUE(none.vector_work.empty());
    EXPECT_NE(none.notes.at(1).find("left out: systolic does not model them"), std::string::npos)
        << none.notes.at(1);
    // Vector work goes to the engine that models it, wherever it stands.
    EXPECT_FALSE(simulate(*make_accelerator("systolic+sat"), step).vector_work.empty());
}

TEST(Mixed, ClocksMeetInSeconds) {
    const Workload step = network_step("dense");
    const auto machine = both({"systolic.frequency_hz=7e8"});
    const Report whole = simulate(*machine, step);
    const Report sat = simulate(sat::Machine(), step),
                 dense = simulate(systolic::Machine({.clock_hz = 7e8}), step);
    double seconds = 0;
    int64_t gradients = 0;
    for (size_t i = 0; i < step.products.size(); ++i) {
        const ProductResult& result = whole.products[i];
        const bool gradient = result.product.stage == Stage::WG;
        seconds += gradient ? static_cast<double>(dense.products[i].cycles) / 7e8
                            : static_cast<double>(sat.products[i].cycles) / 2e8;
        gradients += gradient;
        const double ideal = static_cast<double>(result.multiply_adds) / (gradient ? 32 * 32 * 3.5 : 32 * 32);
        EXPECT_TRUE(std::abs(ideal + result.stalls.total() - static_cast<double>(result.cycles)) <= 1.001)
            << "cycles of another clock are rounded up";
        EXPECT_LE(result.utilization, 1);
    }
    for (const VectorResult& result : sat.vector_work) seconds += static_cast<double>(result.cycles) / 2e8;
    EXPECT_TRUE(whole.seconds - seconds >= -1e-12 && whole.seconds - seconds <= 1.0 / 2e8 * gradients);
    EXPECT_EQ(whole.clock_hz, 2e8);
    EXPECT_EQ(whole.notes.at(0), "cycles are those of sat's clock, 200 MHz; systolic runs at 700 MHz");
}

TEST(Mixed, SideBySideKeepsTheStepsDependences) {
    const Workload step = network_step("bdwp");
    ASSERT_FALSE(step.needs.empty());
    const Settings settings = {"systolic.frequency_hz=2e8"};
    Settings side_settings = settings;
    side_settings.emplace_back("mixed.turns=side by side");
    const Report turns = simulate(*both(settings), step), side = simulate(*both(side_settings), step);
    EXPECT_TRUE(side.side_by_side);
    EXPECT_LT(side.total_cycles, turns.total_cycles);
    for (const EngineShare& engine : side.engines) EXPECT_GE(side.total_cycles, engine.busy_cycles);

    struct Item {
        int64_t begin, end;
        bool gradient;
    };
    std::map<int64_t, std::vector<Item>> at;
    for (size_t i = 0; i < step.products.size(); ++i) {
        const ProductResult& r = side.products[i];
        EXPECT_EQ(r.cycles, turns.products[i].cycles);
        at[step.products[i].position].push_back(
            {r.start_cycle, r.start_cycle + r.cycles, r.product.stage == Stage::WG});
    }
    const size_t ops = step.vector_ops.size();
    for (size_t i = 0; i < side.vector_work.size(); ++i) {
        const VectorResult& r = side.vector_work[i];
        const int64_t position = i < ops ? step.vector_ops[i].position : step.updates[i - ops].position;
        at[position].push_back({r.start_cycle, r.start_cycle + r.cycles, false});
    }
    int64_t last_plain = 0;
    for (const auto& [position, items] : at)
        for (const int64_t need : step.needs.at(position))
            for (const Item& before : at.at(need))
                EXPECT_GE(items.front().begin, before.end) << need << " before " << position;
    for (const ProductResult& r : side.products) last_plain = std::max(last_plain, r.start_cycle + r.cycles);
    for (const VectorResult& r : side.vector_work)
        if (r.stage == Stage::WU) {
            EXPECT_GE(r.start_cycle, last_plain);
        }
    // A weight gradient runs beside a data gradient.
    bool overlap = false;
    for (const ProductResult& wg : side.products)
        for (const ProductResult& bp : side.products)
            overlap = overlap || (wg.product.stage == Stage::WG && bp.product.stage == Stage::BP &&
                                  wg.start_cycle < bp.start_cycle + bp.cycles &&
                                  bp.start_cycle < wg.start_cycle + wg.cycles);
    EXPECT_TRUE(overlap);
}

TEST(Mixed, KeysBeginWithTheirMachine) {
    const auto machine = both({"sat.rows=16", "sat.array.cols=8", "systolic.rows=4", "wg=sat"});
    EXPECT_EQ(machine->elements(), 16 * 8 + 4 * 32);
    const auto refused = [](const std::string& setting) { return refusal([&] { both({setting}); }); };
    EXPECT_EQ(refused("rows=8"), "--set rows: names no machine: write sat.rows or systolic.rows");
    EXPECT_EQ(refused("array.rows=8"),
              "--set array.rows: names no machine: write sat.array.rows or systolic.array.rows");
    EXPECT_EQ(refused("lanes=8"), "--set lanes: names no machine: write sat.lanes");
    EXPECT_EQ(refused("sat.rosw=8"), "--set sat.rosw: unknown key (did you mean 'sat.rows'?)");
    EXPECT_EQ(refused("sat.rows=0"), "--set sat.array.rows = 0 is not between 1 and 1024");
    EXPECT_EQ(refused("mixed.wg=stc"), "--set mixed.wg = 'stc' is unknown (did you mean 'sat'?)");
    EXPECT_NE(refused("sat.latency_cycles=4").find("could be sat.sore.latency_cycles or sat.wuve."),
              std::string::npos);
    const std::string unowned =
        refusal([&] { apply_toml(both()->parameters(), "[array]\nrows = 3\n", "m.toml"); });
    EXPECT_EQ(unowned,
              "m.toml:2: key 'array.rows' names no machine: write sat.array.rows or systolic.array.rows");
}

TEST(Mixed, ConfigurationsRoundTrip) {
    const auto machine = both({"sat.rows=16", "systolic.dataflow=ws", "mixed.turns=side by side"});
    const std::string text = config_text(*machine);
    EXPECT_NE(text.find("[sat.array]\n"), std::string::npos);
    EXPECT_NE(text.find("[systolic.array]\n"), std::string::npos);
    const auto back = both();
    apply_toml(back->parameters(), text, "m.toml");
    EXPECT_EQ(config_text(*back), text);
    EXPECT_EQ(config_text(*back->clone()), text);
    EXPECT_EQ(back->elements(), 16 * 32 + 32 * 32);
}

TEST(Mixed, ItsScheduleIsAFileOfBothParts) {
    const Workload step = network_step("bdwp");
    const auto machine = both({"mixed.wg=sat", "mixed.bp=systolic"});
    const SchedulePtr found = machine->plan(step);
    const std::string text = machine->schedule_text(step, *found);
    EXPECT_NE(text.find("\n[sat]\nversion = 1\n\n[[sat.product]]\n"), std::string::npos)
        << text.substr(0, 500);
    const SchedulePtr back = parse_schedule(*machine, text, "s.toml", step);
    EXPECT_EQ(machine->schedule_text(step, *back), text);
    EXPECT_EQ(machine->cost(step, *back).total_cycles, machine->cost(step, *found).total_cycles);
    const auto refused = [&](const Accelerator& other, const std::string& broken) {
        return refusal([&] { parse_schedule(other, broken, "s.toml", step); });
    };
    EXPECT_NE(refused(*both(), text).find("the schedule is for another step or machine: the stage is "),
              std::string::npos);
    EXPECT_EQ(refused(*machine, "version = 1\n"), "s.toml: key 'sat' is missing");
    std::string broken = text;
    broken.replace(broken.find("[[sat.product]]"), 15, "[[sat.prodcut]]");
    EXPECT_EQ(refused(*machine, broken).substr(0, 39), "s.toml:5: [sat]: unknown key 'prodcut' ");
    const Schedule another;
    EXPECT_NE(refusal([&] { machine->cost(step, another); }), "(accepted)");
    EXPECT_NE(refusal([&] { sat::Machine().cost(step, another); }), "(accepted)");
}

TEST(Mixed, ReportsAndTracesNameTheEngines) {
    const auto machine = both({"mixed.turns=side by side"});
    const Report report = simulate(*machine, network_step("bdwp"));
    const auto json = nlohmann::json::parse(to_json(report));
    EXPECT_EQ(json["accelerator"], "sat+systolic");
    EXPECT_EQ(json["turns"], "side by side");
    ASSERT_EQ(json["engines"].size(), 2U);
    EXPECT_EQ(json["engines"][1]["name"], "systolic");
    EXPECT_EQ(json["engines"][1]["frequency_hz"], 1e9);
    EXPECT_TRUE(json["joules"].is_null());
    for (const auto& product : json["products"])
        EXPECT_EQ(product["engine"], product["stage"] == "WG" ? "systolic" : "sat");
    EXPECT_NE(to_csv(report).find("dram_read,dram_write,engine\n"), std::string::npos);
    const auto trace = nlohmann::json::parse(to_trace(report));
    std::map<int, std::string> tracks;
    double end = 0;
    for (const auto& event : trace["traceEvents"]) {
        if (event["ph"] == "M") tracks[event["tid"]] = event["args"]["name"];
        if (event["ph"] == "X") end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
    }
    EXPECT_EQ(tracks[1], "sat: STCE");
    EXPECT_EQ(tracks[5], "systolic: array");
    EXPECT_EQ(tracks.size(), 5U);
    EXPECT_NEAR(end, report.seconds * 1e6, 1e-3);
    for (const auto& event : trace["traceEvents"])
        if (event["ph"] == "X" && event["args"].contains("dataflow")) {
            const bool gradient = event["name"].get<std::string>().ends_with(" WG");
            EXPECT_EQ(tracks[event["tid"]], gradient ? "systolic: array" : "sat: STCE");
        }
}

/// A second engine that models energy, so that sums can be seen.
class Twin : public sat::Machine {
  public:
    std::string name() const override { return "twin"; }
    std::unique_ptr<Accelerator> clone() const override { return std::make_unique<Twin>(*this); }
};

TEST(Mixed, EnergyIsBothEnginesAndStaticPowerTheWholeSteps) {
    const Workload step = network_step("bdwp");
    const auto machine = mixed::machine(std::make_unique<sat::Machine>(), std::make_unique<Twin>());
    const Report one = simulate(sat::Machine(), step), two = simulate(*machine, step);
    EXPECT_EQ(two.total_cycles, one.total_cycles) << "the same engine twice, in turn";
    EXPECT_EQ(two.energy_table, "fpga");
    EXPECT_NEAR(two.energy.fixed, 2 * one.energy.fixed, 1e-9 * one.energy.fixed);
    EXPECT_NEAR(two.energy.total() - two.energy.fixed, one.energy.total() - one.energy.fixed,
                1e-9 * one.energy.total());
    configure(*machine, "", {"mixed.turns=side by side"});
    const Report side = simulate(*machine, step);
    EXPECT_LT(side.total_cycles, two.total_cycles);
    EXPECT_LT(side.energy.fixed, two.energy.fixed);
    EXPECT_EQ(side.energy.dram, two.energy.dram);
}

TEST(Mixed, ExplorationsSweepEitherEngine) {
    const Workload step = network_step("bdwp");
    const auto machine = both();
    const auto sweeps = [](std::initializer_list<std::string> texts) {
        std::vector<Sweep> list;
        for (const std::string& text : texts) list.push_back(parse_sweep(text));
        return list;
    };
    const std::vector<DesignPoint> points =
        design_points(*machine, sweeps({"sat.array=8x8,16x16", "systolic.rows=8,16"}));
    ASSERT_EQ(points.size(), 4U);
    std::map<std::string, PointResult> results;
    explore(
        points, *machine, [&](const DesignPoint&) -> const Workload& { return step; },
        [&](const PointResult& result) { results[result.label] = result; });
    for (const DesignPoint& point : points) {
        const PointResult& result = results.at(point.label());
        EXPECT_EQ(result.error, "");
        EXPECT_EQ(result.total_cycles, simulate(*machine_of(*machine, point), step).total_cycles);
    }
    EXPECT_EQ(results.at("sat.array=8x8 systolic.rows=16").elements, 64 + 16 * 32);
    EXPECT_EQ(refusal([&] {
                  design_points(*machine, sweeps({"sat.array=2x2", "sat.rows=4"}));
              }),
              "sat.array and sat.rows both set sat.array.rows");
    EXPECT_EQ(refusal([&] { design_points(*machine, sweeps({"rows=4"})); }),
              "rows: names no machine: write sat.rows or systolic.rows");
    EXPECT_EQ(refusal([&] { design_points(*machine, sweeps({"array=8x8"})); }),
              "array: names no machine: write sat.array or systolic.array");
    EXPECT_NE(refusal([&] { design_points(*machine, sweeps({"sat.arry=4x4"})); }).find("'sat.array'"),
              std::string::npos);
}

TEST(Mixed, RunsByValueWhereTheEngineCan) {
    Workload step = small_network();
    const auto machine = both({"sat.rows=4", "sat.cols=4"});
    const SchedulePtr schedule = machine->plan(step);
    const Report report = machine->cost(step, *schedule);
    EXPECT_EQ(machine->lacks(Facility::exact), "");
    EXPECT_NE(
        refusal([&] { machine->execute(step, *schedule, report, {}); }).find("systolic: the array is a"),
        std::string::npos);
    const ExactRun run = machine->execute(step, *schedule, report, {.choice = {"conv2", Stage::FF}});
    EXPECT_EQ(run.products, 1);
    EXPECT_GT(run.outputs, 0);
    EXPECT_NE(machine->registers(step, *schedule, 1, {"conv2", Stage::FF}, 5).find("layer conv2 FF"),
              std::string::npos);
    EXPECT_NE(refusal([&] {
                  machine->registers(step, *schedule, 1, {"conv2", Stage::WG}, 5);
              }),
              "(accepted)");
}

TEST(Mixed, RefusesWhatIsNotTwoEngines) {
    EXPECT_EQ(refusal([] { make_accelerator("sat+sat"); }),
              "sat+sat: a mixed machine is made of two different engines");
    EXPECT_EQ(refusal([] { make_accelerator("sat+systolc"); }),
              "systolc: no such accelerator (did you mean 'systolic'?)");
    EXPECT_EQ(refusal([] { make_accelerator("sat+systolic+stc-a100"); }),
              "sat+systolic+stc-a100: a mixed machine is made of two engines, A+B");
    for (const std::string name : {"sat+", "+sat", "+"})
        EXPECT_EQ(refusal([&] { make_accelerator(name); }),
                  name + ": the name of an engine is missing: a mixed machine is made of two engines, A+B");
    EXPECT_TRUE(refusal([] { make_accelerator(""); }).starts_with("'': no such accelerator (known: sat, "));
    EXPECT_NE(refusal([] {
                  mixed::machine(make_accelerator("sat+systolic"), make_accelerator("stc-a100"));
              }).find("not of another mixed one"),
              std::string::npos);
}

}  // namespace
}  // namespace enmesh::accel
