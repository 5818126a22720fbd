#include "enmesh/accel/sat/stce/stce.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "accel/sat/stce/stce_cases.hpp"
#include "accel/sat/stce/stce_kernels.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel::sat {
namespace {

class StceTest : public testing::Test {
  protected:
    // Small products: a team of threads costs more than it brings.
    void SetUp() override { set_threads(1); }
};

std::vector<float> software(const StceCase& c) {
    std::vector<float> out(static_cast<size_t>(c.product.m * c.product.n));
    software_product(c.streamed, c.indexed, out);
    return out;
}

TEST_F(StceTest, ThreeMachinesAgreeInCyclesAndBits) {
    Random random(11);
    for (int trial = 0; trial < 2400; ++trial) {
        const StceCase c = random_case(random, 4, 13);
        const EngineRun naive = run_naive(c.stce, c.product, c.mapping, c.streamed, c.indexed);
        const EngineRun fast = run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed);
        const EngineCycles form = closed_form(c.stce, c.product, c.mapping);
        ASSERT_EQ(naive.cycles, form.cycles) << describe(c);
        ASSERT_EQ(fast.cycles, form.cycles) << describe(c);
        ASSERT_EQ(fast.element_cycles, form.cycles * c.stce.rows * c.stce.cols);
        const std::vector<float> plain = plain_product(c);
        ASSERT_TRUE(same_bits(naive.out, plain)) << describe(c);
        ASSERT_TRUE(same_bits(fast.out, plain)) << describe(c);
        ASSERT_TRUE(same_bits(software(c), plain)) << describe(c);
    }
}

TEST_F(StceTest, FastMachineAgreesOnLargerCases) {
    Random random(12);
    for (int trial = 0; trial < 1500; ++trial) {
        const StceCase c = random_case(random, 12, 40);
        const EngineRun fast = run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed);
        ASSERT_EQ(fast.cycles, closed_form(c.stce, c.product, c.mapping).cycles) << describe(c);
        ASSERT_TRUE(same_bits(fast.out, plain_product(c))) << describe(c);
        ASSERT_TRUE(same_bits(software(c), fast.out)) << describe(c);
    }
}

TEST_F(StceTest, FastMachineAgreesOnTheDefaultArray) {
    Random random(13);
    for (const Dataflow dataflow : {Dataflow::ws, Dataflow::os})
        for (const Pattern pattern : {Pattern{}, Pattern{2, 4}, Pattern{2, 8}, Pattern{1, 16}}) {
            StceCase c;
            c.product = {150, 200, 1200, pattern};
            c.mapping = {dataflow, 4, false, 16, 64};
            c.streamed = random_halves(random, static_cast<size_t>(c.product.m * c.product.k));
            c.indexed = operand_of(c.product, c.mapping,
                                   random_halves(random, static_cast<size_t>(c.product.n * c.product.k)));
            const EngineRun fast = run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed);
            EXPECT_EQ(fast.cycles, closed_form(c.stce, c.product, c.mapping).cycles) << describe(c);
            EXPECT_TRUE(same_bits(fast.out, software(c))) << describe(c);
        }
}

TEST_F(StceTest, BitsDependNeitherOnDataflowNorTilingNorArray) {
    Random random(14);
    for (const Pattern pattern : {Pattern{}, Pattern{2, 8}}) {
        StceCase c = random_case(random, 4, 20);
        c.product = {17, 13, 96, pattern};
        c.streamed = random_halves(random, 17 * 96);
        const std::vector<Half> weights = random_halves(random, 13 * 96);
        std::vector<float> first;
        for (int trial = 0; trial < 40; ++trial) {
            const StceCase other = random_case(random, 6, 20);
            c.stce = other.stce;
            c.mapping = other.mapping;
            if (!legal(c.stce, c.product, c.mapping)) continue;
            c.indexed = operand_of(c.product, c.mapping, weights);
            const EngineRun run = run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed);
            if (first.empty()) first = run.out;
            ASSERT_TRUE(same_bits(run.out, first)) << describe(c);
        }
    }
}

TEST_F(StceTest, SpecialValuesComeOutTheSameEverywhere) {
    Random random(15);
    const std::array<uint16_t, 8> specials = {0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7bff, 0xfbff, 0x0001, 0x8000};
    for (int trial = 0; trial < 200; ++trial) {
        StceCase c = random_case(random, 4, 10);
        for (Half& value : c.streamed)
            if (random.below(20) == 0) value.bits = specials[random.below(8)];
        for (Half& value : c.indexed.entries)
            if (value.bits != 0 && random.below(20) == 0) value.bits = specials[random.below(8)];
        const std::vector<float> plain = plain_product(c);
        ASSERT_TRUE(same_bits(run_naive(c.stce, c.product, c.mapping, c.streamed, c.indexed).out, plain));
        ASSERT_TRUE(same_bits(run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed).out, plain));
        ASSERT_TRUE(same_bits(software(c), plain));
    }
}

/// Entries of the groups [first, end) of every row: the operand of a part of the product along k.
IndexedOperand groups_of(const IndexedOperand& whole, int64_t first, int64_t end, int64_t k) {
    IndexedOperand part = whole;
    part.groups = end - first;
    part.k = k;
    part.entries.clear();
    part.indices.clear();
    for (int64_t row = 0; row < whole.n; ++row)
        for (int64_t i = (row * whole.groups + first) * whole.values,
                     stop = (row * whole.groups + end) * whole.values;
             i < stop; ++i) {
            part.entries.push_back(whole.entries[static_cast<size_t>(i)]);
            part.indices.push_back(whole.indices[static_cast<size_t>(i)]);
        }
    return part;
}

std::vector<Half> columns_of(const StceCase& c, int64_t first, int64_t end) {
    std::vector<Half> part;
    for (int64_t row = 0; row < c.product.m; ++row)
        for (int64_t k = first; k < end; ++k)
            part.push_back(c.streamed[static_cast<size_t>(row * c.product.k + k)]);
    return part;
}

TEST_F(StceTest, AProductCutAlongKResumesAndEqualsTheWhole) {
    Random random(20);
    int cut = 0, several_passes = 0;
    for (int trial = 0; trial < 3000; ++trial) {
        StceCase c = random_case(random, 4, 14);
        const int64_t groups = c.product.k / c.indexed.group;
        c.mapping.dataflow = Dataflow::ws;
        if (groups < 1 || !legal(c.stce, c.product, c.mapping)) continue;
        const int64_t at = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(groups)));
        const int64_t k = at * c.indexed.group;
        if (k >= c.product.k) continue;
        StceCase head = c, tail = c;
        head.product.k = k;
        head.streamed = columns_of(c, 0, k);
        head.indexed = groups_of(c.indexed, 0, at, k);
        tail.product.k = c.product.k - k;
        tail.product.resume = true;
        tail.streamed = columns_of(c, k, c.product.k);
        tail.indexed = groups_of(c.indexed, at, c.indexed.groups, tail.product.k);

        const EngineRun first =
            run_stepped(head.stce, head.product, head.mapping, head.streamed, head.indexed);
        const EngineRun fast =
            run_stepped(tail.stce, tail.product, tail.mapping, tail.streamed, tail.indexed, first.out);
        const EngineRun naive =
            run_naive(tail.stce, tail.product, tail.mapping, tail.streamed, tail.indexed, nullptr, first.out);
        const int64_t form = closed_form(tail.stce, tail.product, tail.mapping).cycles;
        ASSERT_EQ(fast.cycles, form) << describe(tail);
        ASSERT_EQ(naive.cycles, form) << describe(tail);
        const std::vector<float> whole = plain_product(c);
        ASSERT_TRUE(same_bits(fast.out, whole)) << describe(c) << " cut at " << k;
        ASSERT_TRUE(same_bits(naive.out, whole)) << describe(c) << " cut at " << k;
        std::vector<float> sums(whole.size());
        software_product(tail.streamed, tail.indexed, sums, first.out);
        ASSERT_TRUE(same_bits(sums, whole)) << describe(c) << " cut at " << k;
        ++cut;
        several_passes += tiling(tail.stce, tail.product, tail.mapping).reduction_passes > 1;
    }
    EXPECT_GE(cut, 1000);
    EXPECT_GE(several_passes, 200);
}

TEST_F(StceTest, OnlyAProductThatResumesTakesStartSums) {
    Random random(21);
    StceCase c = random_case(random, 3, 8);
    c.mapping = {};
    c.product = {2, 3, 8, {2, 4}};
    c.streamed = random_halves(random, 16);
    c.indexed = operand_of(c.product, c.mapping, random_halves(random, 24));
    std::vector<float> start(6, 1.5F);
    const auto run = [&] {
        return run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed, start).out;
    };
    EXPECT_THROW(run(), Error);
    c.product.resume = true;
    EXPECT_NO_THROW(run());
    EXPECT_THROW(run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed), Error);
    start[4] = -0.0F;
    EXPECT_THROW(run(), Error);
    start.pop_back();
    EXPECT_THROW(run(), Error);
    c.mapping.dataflow = Dataflow::os;
    EXPECT_NE(why_illegal(c.stce, c.product, c.mapping), "");
    std::vector<float> out(6);
    EXPECT_THROW(software_product(c.streamed, c.indexed, out, start), Error);
}

TEST_F(StceTest, NoOutputLeavesBeforeItsLastInputHasCrossedTheAdder) {
    Random random(16);
    for (int trial = 0; trial < 300; ++trial) {
        const StceCase c = random_case(random, 4, 12);
        std::vector<OutputEvent> events;
        const EngineRun run = run_naive(c.stce, c.product, c.mapping, c.streamed, c.indexed, &events);
        ASSERT_EQ(events.size(), run.out.size());
        int64_t last = 0;
        for (const OutputEvent& event : events) {
            ASSERT_GE(event.last_input_cycle, 0) << describe(c);
            ASSERT_GE(event.leave_cycle, event.last_input_cycle + c.stce.adder_latency) << describe(c);
            ASSERT_LT(event.leave_cycle, run.cycles) << describe(c);
            last = std::max(last, event.leave_cycle);
        }
        ASSERT_GE(last, c.product.k / std::max(1, c.stce.rows * 16)) << describe(c);
    }
}

/// Each change of a latency or a width must show in some case, or the comparison above could not see it.
TEST_F(StceTest, EveryTimingParameterShows) {
    struct Mutation {
        const char* name;
        std::function<void(StceCase&)> apply;
    };
    const std::vector<Mutation> mutations = {
        {"adder_latency", [](StceCase& c) { ++c.stce.adder_latency; }},
        {"row_link_values", [](StceCase& c) { ++c.stce.row_link_values; }},
        {"column_link_values", [](StceCase& c) { ++c.stce.column_link_values; }},
        {"packed_sets", [](StceCase& c) { c.stce.packed_sets = 3 - c.stce.packed_sets; }},
        {"accumulator_sets", [](StceCase& c) { c.stce.accumulator_sets = 3 - c.stce.accumulator_sets; }},
        {"rows", [](StceCase& c) { ++c.stce.rows; }},
        {"cols", [](StceCase& c) { ++c.stce.cols; }},
        {"interleave", [](StceCase& c) { ++c.mapping.interleave; }},
        {"interleave_pixels",
         [](StceCase& c) { c.mapping.interleave_pixels = !c.mapping.interleave_pixels; }},
        {"dataflow",
         [](StceCase& c) {
             c.mapping.dataflow = c.mapping.dataflow == Dataflow::ws ? Dataflow::os : Dataflow::ws;
         }},
        {"tile_m", [](StceCase& c) { c.mapping.tile_m = c.mapping.tile_m == 1 ? 2 : 1; }},
    };
    std::vector<int> seen(mutations.size());
    Random random(17);
    for (int trial = 0; trial < 150; ++trial) {
        const StceCase c = random_case(random, 4, 16);
        const int64_t stepped = run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed).cycles;
        for (size_t i = 0; i < mutations.size(); ++i) {
            StceCase changed = c;
            mutations[i].apply(changed);
            seen[i] += closed_form(changed.stce, changed.product, changed.mapping).cycles != stepped;
        }
    }
    for (size_t i = 0; i < mutations.size(); ++i) EXPECT_GE(seen[i], 10) << mutations[i].name;
}

TEST_F(StceTest, ARowRefusesAValueThatIsNotThereInItsCycle) {
    const std::vector<Half> streamed(8, to_half(1));
    const std::vector<float> entries(8, 1);
    const std::vector<uint8_t> indices(8, 0);
    std::vector<float> sums(8), latch(32), passing(16);
    for (const StceKernels* kernels : {&stce_kernels_portable(), &stce_kernels()}) {
        for (const int64_t late : {-1, 0, 1}) {
            StepRow row;
            row.dense = true;
            row.padded_cols = 8;
            row.lanes = row.values = row.group = row.link = row.latency = 1;
            row.steps = 2;
            row.streamed = streamed.data();
            row.streamed_rows = 2;
            row.k = 1;
            row.whole_groups = 1;
            row.entries = entries.data();
            row.indices = indices.data();
            row.sums = sums.data();
            row.latch = latch.data();
            row.passing = passing.data();
            std::vector<int64_t> stamps = {5, 6 + late};
            row.stamps = stamps.data();
            StepState state;
            EXPECT_EQ(kernels->step_row(row, state, 2), late == 0) << late;
            EXPECT_EQ(state.cycle, 7);
            EXPECT_EQ(stamps, (std::vector<int64_t>{6, 7}));
        }
    }
}

TEST_F(StceTest, PortableAndVectorKernelsAgree) {
    if (hardware_isa() == Isa::portable) GTEST_SKIP() << "this processor has the portable kernels only";
    Random random(18);
    for (const bool ws : {true, false})
        for (const int group : {4, 8, 16}) {
            constexpr int columns = 16, lanes = 3, steps = 5, latency = 2, values = 2;
            const std::vector<Half> streamed = random_halves(random, static_cast<size_t>(steps * group));
            std::vector<float> entries(steps * values * lanes * columns);
            std::vector<uint8_t> indices(entries.size());
            for (size_t i = 0; i < entries.size(); ++i) {
                entries[i] = to_float(to_half(random.normal()));
                indices[i] = static_cast<uint8_t>(random.below(static_cast<uint64_t>(group)));
            }
            std::vector<std::vector<float>> results;
            for (const StceKernels* kernels : {&stce_kernels_portable(), &stce_kernels_avx2()}) {
                std::vector<float> sums(lanes * columns), latch(32), passing(steps * lanes * columns);
                std::vector<int64_t> stamps(steps * values * lanes);
                StepRow row;
                row.ws = ws;
                row.first_row = true;
                row.padded_cols = columns;
                row.lanes = lanes;
                row.values = values;
                row.group = group;
                row.link = 2;
                row.latency = latency;
                row.steps = steps;
                row.streamed = streamed.data();
                row.streamed_rows = ws ? steps : 1;
                row.k = ws ? group : steps * group;
                row.whole_groups = ws ? 1 : steps;
                row.entries = entries.data();
                row.indices = indices.data();
                row.sums = sums.data();
                row.latch = latch.data();
                row.passing = passing.data();
                row.stamps = stamps.data();
                StepState state;
                EXPECT_TRUE(kernels->step_row(row, state, steps));
                results.push_back(ws ? passing : sums);
                results.back().push_back(static_cast<float>(state.cycle));
            }
            EXPECT_TRUE(same_bits(results[0], results[1]));
        }
}

TEST_F(StceTest, SoftwareProductDoesNotDependOnThreads) {
    Random random(19);
    const std::vector<Half> streamed = random_halves(random, 300 * 256),
                            weights = random_halves(random, 70 * 256);
    const IndexedOperand packed = packed_operand(weights, {}, 70, 256, {2, 8});
    std::vector<float> one(300 * 70), three(300 * 70);
    software_product(streamed, packed, one);
    set_threads(3);
    software_product(streamed, packed, three);
    EXPECT_TRUE(same_bits(one, three));
}

}  // namespace
}  // namespace enmesh::accel::sat
