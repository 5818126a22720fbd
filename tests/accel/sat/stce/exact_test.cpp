#include <gtest/gtest.h>

#include <algorithm>

#include "accel/sat/cost.hpp"
#include "accel/small_network.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

SatConfig small_machine() {
    SatConfig config;
    config.stce.rows = config.stce.cols = 4;
    config.stce.max_interleave = 4;
    config.input_buffer_bytes = 1000;
    config.weight_buffer_bytes = 300;
    config.output_buffer_bytes = 2048;
    return config;
}

struct Step {
    SatConfig config = small_machine();
    Workload workload = small_network();
    Schedule schedule;
    Report report;

    explicit Step(bool sparse, const std::string& dataflow = "auto") {
        if (sparse) make_sparse(workload, {2, 8});
        config.dataflow = dataflow;
        schedule = find_schedule(config, workload);
        report = simulate(config, workload, schedule);
    }
};

TEST(Exact, StepsEveryBufferTileOfAWholeProduct) {
    for (const bool sparse : {false, true}) {
        const Step step(sparse, "ws");
        std::vector<std::pair<EngineProduct, std::array<int64_t, 3>>> seen;  // equal phases run once
        int64_t tiles = 0, element_cycles = 0, outputs = 0, cut_along_k = 0;
        for (size_t i = 0; i < step.workload.products.size(); ++i)
            for (size_t phase = 0; phase < step.schedule.products[i].mappings.size(); ++phase) {
                const Mapping& mapping = step.schedule.products[i].mappings[phase];
                const Piece piece = pieces(step.workload.products[i], mapping.indexed)[phase];
                const std::pair key{piece.engine, std::array{mapping.tile_m, mapping.tile_n, mapping.tile_k}};
                if (std::find(seen.begin(), seen.end(), key) != seen.end()) continue;
                seen.push_back(key);
                const PieceCost one = cost(step.config, piece, mapping);
                tiles += one.tiles / piece.repeat;
                element_cycles += one.engine_cycles / piece.repeat * step.config.elements();
                outputs += piece.engine.m * piece.engine.n;
                cut_along_k += mapping.tile_k < piece.engine.k;
            }
        EXPECT_GT(cut_along_k, 0) << "no tile of the test resumes";
        const ExactRun run = run_exact(step.config, step.workload, step.schedule, step.report, 1);
        EXPECT_TRUE(run.whole);
        EXPECT_EQ(run.tiles, tiles);
        EXPECT_EQ(run.element_cycles, element_cycles);
        EXPECT_EQ(run.outputs, outputs);
    }
}

TEST(Exact, StepsOneTileOfEachKindWhereAllAreTooMany) {
    for (const bool sparse : {false, true}) {
        const Step step(sparse, "ws");
        const ExactRun all = run_exact(step.config, step.workload, step.schedule, step.report, 1);
        const ExactRun kinds = run_exact(step.config, step.workload, step.schedule, step.report, 1, {}, {},
                                         static_cast<double>(all.element_cycles - 1));
        EXPECT_FALSE(kinds.whole);
        EXPECT_EQ(kinds.products, all.products);
        EXPECT_LT(kinds.tiles, all.tiles);
        EXPECT_GT(kinds.tiles, kinds.products);
        EXPECT_THROW(run_exact(step.config, step.workload, step.schedule, step.report, 1, {}, {}, 1000),
                     Error);
    }
}

TEST(Exact, StreamsAndOutputStationaryTilesAreSteppedToo) {
    for (const bool sparse : {false, true}) {
        const Step step(sparse, "os");
        int64_t told = 0;
        double last = 0, end = 1;
        const ExactRun run = run_exact(step.config, step.workload, step.schedule, step.report, 1, {},
                                       [&](double done, double all) {
                                           EXPECT_GT(done, last);
                                           last = done;
                                           end = all;
                                           ++told;
                                       });
        EXPECT_EQ(told, run.tiles);
        EXPECT_EQ(last, end);
        EXPECT_GE(run.tiles, run.products);
        bool streams = false;
        for (const ProductSchedule& product : step.schedule.products)
            for (const Mapping& mapping : product.mappings) streams = streams || mapping.streaming;
        EXPECT_TRUE(streams);
    }
}

TEST(Exact, HoldsTheReportToWhatTheTilesTook) {
    Step step(true);
    ++std::get<int64_t>(step.report.products[4].figures.front().value);
    const Product& product = step.workload.products[4];
    try {
        run_exact(step.config, step.workload, step.schedule, step.report, 1, {product.layer, product.stage});
        FAIL() << "a report with a wrong figure was confirmed";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::failure);
        EXPECT_NE(std::string(error.what()).find("the report says"), std::string::npos) << error.what();
    }
    EXPECT_NO_THROW(run_exact(step.config, step.workload, step.schedule, step.report, 1, {"conv1", {}}));
}

TEST(Exact, EngineCyclesAndWaitsMakeAProductsCycles) {
    const Step step(true);
    for (const ProductResult& result : step.report.products)
        EXPECT_EQ(static_cast<double>(result.whole("engine_cycles")) + result.stalls.of("bandwidth") +
                      result.stalls.of("packing"),
                  static_cast<double>(result.cycles));
}

TEST(Exact, ShowsTheFirstTilesRegisters) {
    const Step step(false, "ws");
    const std::string text =
        registers_at(step.config, step.workload, step.schedule, 1, {"conv2", Stage::FF}, 20);
    EXPECT_NE(text.find("layer conv2 FF, first of "), std::string::npos) << text;
    EXPECT_NE(text.find("cycle 20\n"), std::string::npos);
    EXPECT_THROW(registers_at(step.config, step.workload, step.schedule, 1, {"conv2", Stage::FF}, 1 << 30),
                 Error);
}

TEST(Exact, RefusesASchedulesOtherNumberOfPhases) {
    Step step(true);
    for (const int change : {-1, 1}) {
        Schedule wrong = step.schedule;
        auto& mappings = wrong.products.front().mappings;
        if (change > 0)
            mappings.push_back(mappings.back());
        else
            mappings.pop_back();
        EXPECT_THROW(simulate(step.config, step.workload, wrong), Error);
        EXPECT_THROW(run_exact(step.config, step.workload, wrong, step.report, 1), Error);
    }
    Schedule shorter = step.schedule;
    shorter.products.pop_back();
    EXPECT_THROW(simulate(step.config, step.workload, shorter), Error);
    EXPECT_THROW(run_exact(step.config, step.workload, shorter, step.report, 1), Error);
}

}  // namespace
}  // namespace enmesh::accel::sat
