#include "enmesh/accel/common/explore.hpp"

#include <gtest/gtest.h>

#include "enmesh/accel/sat/machine.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

std::vector<Sweep> sweeps(std::initializer_list<std::string_view> texts) {
    std::vector<Sweep> result;
    for (const std::string_view text : texts) result.push_back(parse_sweep(text, "--sweep"));
    return result;
}

std::string refusal(std::initializer_list<std::string_view> texts) {
    try {
        const sat::Machine base;
        for (const DesignPoint& point : design_points(base, sweeps(texts), "--sweep"))
            machine_of(base, point, "--sweep");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::request);
        return error.what();
    }
    return "(accepted)";
}

TEST(Explore, SpansTheGridOfItsSweeps) {
    const sat::Machine base;
    const auto points = design_points(base, sweeps({"array=2x4,8x8", "frequency_hz=1e8,2e8,3e8"}));
    ASSERT_EQ(points.size(), 6U);
    EXPECT_EQ(points[4].label(), "array=8x8 frequency_hz=2e8");
    const std::unique_ptr<Accelerator> machine = machine_of(base, points[1]);
    const SatConfig& config = dynamic_cast<const sat::Machine&>(*machine).config();
    EXPECT_EQ(config.stce.rows, 2);
    EXPECT_EQ(config.stce.cols, 4);
    EXPECT_EQ(config.stce.clock_hz, 2e8);
}

TEST(Explore, RefusesSweepsThatSetTheSameParameter) {
    EXPECT_EQ(refusal({"array=2x2", "rows=4"}), "--sweep array and --sweep rows both set array.rows");
    EXPECT_EQ(refusal({"array.cols=4,8", "array=2x2"}),
              "--sweep array.cols and --sweep array both set array.cols");
    EXPECT_EQ(refusal({"frequency_hz=1e8", "array.frequency_hz=2e8"}),
              "--sweep frequency_hz and --sweep array.frequency_hz both set array.frequency_hz");
    EXPECT_EQ(refusal({"rows=4", "rows=8"}), "--sweep rows: is given twice");
    EXPECT_EQ(refusal({"rows=4,8", "cols=4,8"}), "(accepted)");
}

TEST(Explore, RefusesUnknownKeysWithTheNearest) {
    EXPECT_EQ(refusal({"arry=2x2"}), "--sweep arry: unknown key (did you mean 'array'?)");
    EXPECT_EQ(refusal({"patern=2:8"}), "--sweep patern: unknown key (did you mean 'pattern'?)");
    EXPECT_EQ(refusal({"array.row=2"}), "--sweep array.row: unknown key (did you mean 'array.rows'?)");
    EXPECT_EQ(refusal({"array=2"}), "--sweep array: 2 is not of the form RxC");
    EXPECT_EQ(refusal({"rows=0"}), "--sweep array.rows = 0 is not between 1 and 1024");
    // Nothing is near: what one can sweep is listed, every name once and the vector table's rows not at all.
    const std::string known = refusal({"zzzzzzzzzzzzzzzzzzzz=1"});
    EXPECT_NE(known.find("(known: array, pattern, rows, cols, "), std::string::npos) << known;
    EXPECT_EQ(known.find("lane_ops"), std::string::npos) << known;
    EXPECT_EQ(known.find(" latency_cycles,"), std::string::npos) << known;
    EXPECT_LT(known.size(), 1000U) << known;
    EXPECT_NE(refusal({"latency_cycles=4"}).find("could be"), std::string::npos);
}

TEST(Explore, MarksWhatNothingBeats) {
    std::vector<PointResult> results(4);
    results[0] = {.label = "fast", .seconds = 1, .joules = 4, .elements = 64};
    results[1] = {.label = "frugal", .seconds = 2, .joules = 1, .elements = 16};
    results[2] = {.label = "beaten", .seconds = 2, .joules = 4, .elements = 64};
    results[3] = {.label = "broken", .error = "no"};
    mark_pareto(results);
    EXPECT_TRUE(results[0].pareto);
    EXPECT_TRUE(results[1].pareto);
    EXPECT_FALSE(results[2].pareto);
    EXPECT_FALSE(results[3].pareto);
    EXPECT_NE(to_svg(results, "test").find("<svg"), std::string::npos);
}

TEST(Explore, DoesNotComparePointsWithAndWithoutEnergy) {
    std::vector<PointResult> results(4);
    results[0] = {.label = "known", .seconds = 2, .joules = 4, .elements = 64};
    results[1] = {.label = "unknown", .seconds = 1, .elements = 16};
    results[2] = {.label = "unknown, beaten", .seconds = 2, .elements = 16};
    results[3] = {.label = "known, beaten", .seconds = 2, .joules = 5, .elements = 64};
    mark_pareto(results);
    EXPECT_TRUE(results[0].pareto);
    EXPECT_TRUE(results[1].pareto);
    EXPECT_FALSE(results[2].pareto);
    EXPECT_FALSE(results[3].pareto);
}

}  // namespace
}  // namespace enmesh::accel
