#include "enmesh/accel/systolic/systolic.hpp"

#include <gtest/gtest.h>

#include "enmesh/accel/systolic/machine.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::systolic {
namespace {

int64_t cycles(int rows, int cols, Dataflow dataflow, int64_t m, int64_t n, int64_t k) {
    return systolic_cycles({rows, cols}, dataflow, m, n, k).cycles;
}

// Every expectation is worked out by hand from the convention in the header.
TEST(Systolic, FourByFourTakesTheTenCyclesOfThePublishedFigure) {
    EXPECT_EQ(cycles(4, 4, Dataflow::os, 4, 4, 4), 10);
    EXPECT_EQ(cycles(4, 4, Dataflow::ws, 4, 4, 4), 14);
    EXPECT_EQ(cycles(4, 4, Dataflow::is, 4, 4, 4), 14);
    EXPECT_EQ(systolic_cycles({4, 4, true}, Dataflow::os, 4, 4, 4).cycles, 14);
}

TEST(Systolic, FoldsOfANonSquareArray) {
    EXPECT_EQ(cycles(8, 16, Dataflow::ws, 100, 50, 30), 16 * 130);
    EXPECT_EQ(cycles(8, 16, Dataflow::is, 100, 50, 30), 28 * 80);
    EXPECT_EQ(cycles(8, 16, Dataflow::os, 100, 50, 30), 52 * 52);
}

TEST(Systolic, UtilizationAndMappingEfficiency) {
    const SystolicCycles ws = systolic_cycles({8, 16}, Dataflow::ws, 100, 50, 30);
    EXPECT_EQ(ws.folds, 16);
    EXPECT_EQ(ws.multiply_adds, 150000);
    EXPECT_DOUBLE_EQ(ws.utilization, 150000.0 / (2080.0 * 128));
    EXPECT_DOUBLE_EQ(ws.mapping_efficiency, 30.0 * 50 / (16 * 128));
}

TEST(Systolic, CompactedReductionKeepsNOfEveryMAndOfTheTail) {
    EXPECT_EQ(systolic_compacted_k(64, {2, 4}), 32);
    EXPECT_EQ(systolic_compacted_k(67, {2, 4}), 34);
    EXPECT_EQ(systolic_compacted_k(65, {2, 4}), 33);
    EXPECT_EQ(systolic_compacted_k(3, {2, 8}), 2);
}

TEST(Systolic, RefusesWhatIsNoArrayAndNoProduct) {
    EXPECT_THROW(cycles(0, 4, Dataflow::ws, 4, 4, 4), Error);
    EXPECT_THROW(cycles(4, -1, Dataflow::ws, 4, 4, 4), Error);
    EXPECT_THROW(cycles(4, 4, Dataflow::ws, 0, 4, 4), Error);
    EXPECT_THROW(cycles(4, 4, Dataflow::os, 4, 4, int64_t{1} << 40), Error);
}

Workload one_product(int64_t m, int64_t n, int64_t k, int64_t batch) {
    Workload workload;
    workload.name = "one";
    workload.products.push_back({.layer = "a", .m = m, .n = n, .k = k, .batch = batch});
    return workload;
}

Report run(const SystolicConfig& config, const Workload& workload) {
    return accel::simulate(Machine(config), workload);
}

TEST(Systolic, RefusesArraysOutOfRange) {
    const Workload small = one_product(4, 4, 4, 1);
    EXPECT_EQ(run({.rows = 4, .cols = 4, .dataflow = "os"}, small).total_cycles, 10);
    EXPECT_THROW(run({.rows = 65537, .cols = 4, .dataflow = "os"}, small), Error);
    EXPECT_THROW(run({.rows = 4, .cols = 0, .dataflow = "os"}, small), Error);
}

TEST(Systolic, RefusesMoreThan64BitsCount) {
    // 2^50 multiply-adds for each of 2^20.
    EXPECT_THROW(run({.dataflow = "os"}, one_product(1 << 20, 1 << 20, 1 << 10, 1 << 20)), Error);
    // Countable multiply-adds on an array of one element, whose folds' fill and drain count too.
    const Workload thin = one_product(1, 1, 1, (int64_t{1} << 62));
    EXPECT_THROW(run({.rows = 65536, .cols = 65536, .dataflow = "ws"}, thin), Error);
    Workload twice = one_product(1, 1, 1, (int64_t{1} << 62));
    twice.products.push_back(twice.products.front());
    EXPECT_THROW(run({.rows = 1, .cols = 1, .dataflow = "os"}, twice), Error);
}

}  // namespace
}  // namespace enmesh::accel::systolic
