#include <gtest/gtest.h>

#include "accel/sat/stce/stce_cases.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

int64_t cycles(const EngineProduct& product, const EngineMapping& mapping, const Stce& stce = {}) {
    return closed_form(stce, product, mapping).cycles;
}

// Worked out by hand from the design's formulas; 32 x 32, L = 4, one value a cycle on every link.
TEST(StceForm, WeightStationaryByHand) {
    // T g + (R-1)((N-1) I + L) + (C-1) + L + fill, and the load of R I N entries before it.
    EXPECT_EQ(cycles({1000, 128, 256, {2, 8}}, {Dataflow::ws, 4}), 256 + 1000 * 8 + 31 * 8 + 31 + 4 + 8);
    EXPECT_EQ(cycles({1000, 128, 512, {}}, {Dataflow::ws, 4, false, 16}),
              2048 + 1000 * 64 + 31 * 64 + 31 + 4 + 16);
    // Without interleaving a group takes N L cycles; with one value of eight kept the link sets the pace.
    EXPECT_EQ(cycles({1000, 32, 256, {3, 8}}, {Dataflow::ws, 1}), 96 + 1000 * 12 + 31 * 12 + 31 + 4 + 8);
    EXPECT_EQ(cycles({1000, 128, 256, {1, 8}}, {Dataflow::ws, 4}), 128 + 1000 * 8 + 31 * 4 + 31 + 4 + 8);
    // Two reduction passes and two column tiles: the loads of 256 cycles hide behind passes of 8291.
    EXPECT_EQ(cycles({1000, 256, 512, {2, 8}}, {Dataflow::ws, 4}), 256 + 4 * 8291);
    Stce single;
    single.packed_sets = 1;
    EXPECT_EQ(cycles({1000, 256, 512, {2, 8}}, {Dataflow::ws, 4}, single), 4 * (256 + 8291));
}

TEST(StceForm, OutputStationaryByHand) {
    // G g + (R-1) + (C-1) + L + fill, and the drain of R I sums.
    constexpr int64_t tile = 72 * 8 + 31 + 31 + 4 + 8;
    EXPECT_EQ(cycles({32, 128, 576, {2, 8}}, {Dataflow::os, 4}), tile + 128);
    EXPECT_EQ(cycles({64, 256, 576, {2, 8}}, {Dataflow::os, 4}), 4 * tile + 128);
    Stce single;
    single.accumulator_sets = 1;
    EXPECT_EQ(cycles({64, 256, 576, {2, 8}}, {Dataflow::os, 4}, single), 4 * (tile + 128));
    // A drain longer than a tile sets the pace.
    EXPECT_EQ(cycles({64, 256, 16, {2, 8}}, {Dataflow::os, 4}), 90 + 4 * 128);
}

TEST(StceForm, InterleavedPixelsNeedLatchesAndLinks) {
    Stce wide;
    wide.latches = 8;
    wide.row_link_values = 4;
    const EngineMapping pixels = {Dataflow::ws, 4, true};
    EXPECT_NE(why_illegal({}, {1000, 32, 256, {2, 8}}, pixels), "");
    EXPECT_EQ(why_illegal(wide, {1000, 32, 256, {2, 8}}, pixels), "");
    // 250 steps of four pixels; I M = 32 values in 8 cycles at 4 a cycle; 2 entries an element to load.
    EXPECT_EQ(cycles({1000, 32, 256, {2, 8}}, pixels, wide), 64 + 250 * 8 + 31 * 8 + 31 + 4 + 8);
}

TEST(StceForm, TheReductionTailIsDense) {
    const EngineTiling cut = tiling({}, {10, 10, 8 * 5 + 7, {2, 8}}, {});
    EXPECT_EQ(cut.groups, 5 + 4);
    EXPECT_EQ(closed_form({}, {10, 10, 47, {2, 8}}, {}).useful, 10 * 10 * (5 * 2 + 7));
    EXPECT_EQ(tiling({}, {10, 10, 33, {}}, {Dataflow::ws, 4, false, 16}).groups, 3);
}

TEST(StceForm, AttributionAddsUpAndUtilizationStaysBelowOne) {
    int checked = 0;
    Random random(21);
    for (int trial = 0; trial < 20000; ++trial) {
        const Stce stce = random_stce(random, 40);
        EngineProduct product = {draw(random, 1, 3000), draw(random, 1, 500), draw(random, 1, 3000), {}};
        if (trial % 2 == 0) product.pattern = {draw(random, 1, 3), draw(random, 4, 16)};
        const EngineMapping mapping = {trial % 3 == 0 ? Dataflow::os : Dataflow::ws, draw(random, 1, 8),
                                       trial % 5 == 0, draw(random, 1, 16), draw(random, 0, 900)};
        if (!legal(stce, product, mapping)) continue;
        const EngineCycles form = closed_form(stce, product, mapping);
        for (const int64_t part : {form.useful, form.tail, form.adder, form.link, form.fill_drain, form.load})
            ASSERT_GE(part, 0);
        const int64_t elements = int64_t{stce.rows} * stce.cols;
        ASSERT_EQ(form.useful + form.tail + form.adder + form.link + form.fill_drain + form.load,
                  form.cycles * elements);
        ASSERT_GE(form.cycles * elements, form.useful);
        ASSERT_LE(form.utilization(), 1.0);
        ++checked;
    }
    EXPECT_GE(checked, 8000);
}

TEST(StceForm, MoreWorkOrALongerAdderNeverTakesFewerCyclesAndWiderLinksNeverMore) {
    int checked = 0;
    Random random(22);
    for (int trial = 0; trial < 5000; ++trial) {
        StceCase c;
        c.stce = random_stce(random, 16);
        c.product = {draw(random, 1, 300), draw(random, 1, 300), 16 * draw(random, 1, 60), {}};
        if (trial % 2 == 0) c.product.pattern = {draw(random, 1, 3), trial % 4 == 0 ? 8 : 16};
        c.mapping = {trial % 3 == 0 ? Dataflow::os : Dataflow::ws, draw(random, 1, 8), false,
                     draw(random, 1, 16), draw(random, 1, 200)};
        if (!legal(c.stce, c.product, c.mapping)) continue;
        const int64_t base = cycles(c.product, c.mapping, c.stce);
        const auto changed = [&](auto change) {
            StceCase other = c;
            change(other);
            return cycles(other.product, other.mapping, other.stce);
        };
        ASSERT_GE(changed([&](StceCase& o) { o.product.m += draw(random, 1, 50); }), base) << describe(c);
        ASSERT_GE(changed([&](StceCase& o) { o.product.n += draw(random, 1, 50); }), base) << describe(c);
        ASSERT_GE(changed([&](StceCase& o) { o.product.k += 16 * draw(random, 1, 9); }), base) << describe(c);
        ASSERT_GE(changed([&](StceCase& o) { ++o.stce.adder_latency; }), base) << describe(c);
        ASSERT_LE(changed([&](StceCase& o) { ++o.stce.row_link_values; }), base) << describe(c);
        ASSERT_LE(changed([&](StceCase& o) { ++o.stce.column_link_values; }), base) << describe(c);
        ASSERT_LE(changed([&](StceCase& o) { o.stce.packed_sets = o.stce.accumulator_sets = 2; }), base)
            << describe(c);
        ++checked;
    }
    EXPECT_GE(checked, 3000);
}

TEST(StceForm, ConfigurationWordsRoundTrip) {
    Random random(23);
    for (int trial = 0; trial < 500; ++trial) {
        StceCase c = random_case(random, 4, 12);
        c.product.resume = c.mapping.dataflow == Dataflow::ws && random.below(2) == 0;
        const EngineWords words = encode(c.product, c.mapping);
        const DecodedWords decoded = decode(words);
        EXPECT_EQ(decoded.product, c.product);
        EXPECT_EQ(encode(decoded.product, decoded.mapping), words);
        EXPECT_EQ(closed_form(c.stce, decoded.product, decoded.mapping).cycles,
                  closed_form(c.stce, c.product, c.mapping).cycles);
    }
    EngineWords words = encode({100, 128, 576, {2, 8}}, {Dataflow::ws, 4, false, 16, 50});
    EXPECT_EQ(words, (EngineWords{4U << 20 | 8U << 12 | 2U << 4, 100, 128, 576, 50, 72}));
    EXPECT_EQ(encode({100, 128, 576, {2, 8}, true}, {Dataflow::ws, 4, false, 16, 50})[0], words[0] | 4);
    EngineWords resumed_os = encode({100, 128, 576, {2, 8}}, {Dataflow::os, 4});
    resumed_os[0] |= 4;
    EXPECT_THROW(decode(resumed_os), Error);
    ++words[5];
    EXPECT_THROW(decode(words), Error);
    EXPECT_THROW(decode({}), Error);
}

TEST(StceForm, OperandsPackAndUnpack) {
    Random random(24);
    const std::vector<Half> weights = random_halves(random, 5 * 21);
    EXPECT_EQ(unpacked_operand(dense_operand(weights, 5, 21, 4)), weights);
    const IndexedOperand packed = packed_operand(weights, {}, 5, 21, {2, 8});
    EXPECT_EQ(packed.groups, 2 + 3);
    const std::vector<Half> kept = unpacked_operand(packed);
    for (int64_t row = 0; row < 5; ++row)
        for (int64_t g = 0; g < 2; ++g) {
            int zeros = 0;
            for (int64_t i = 0; i < 8; ++i)
                zeros += kept[static_cast<size_t>(row * 21 + g * 8 + i)].bits == 0;
            EXPECT_GE(zeros, 6);
        }
    for (int64_t row = 0; row < 5; ++row)
        for (int64_t i = 16; i < 21; ++i)
            EXPECT_EQ(kept[static_cast<size_t>(row * 21 + i)], weights[static_cast<size_t>(row * 21 + i)]);
    // Masters rank, FP16 values leave.
    const std::vector<Half> equal(8, to_half(1));
    const std::vector<float> ranks = {1, 2, 3, -9, 5, 4, 3, 2};
    const IndexedOperand ranked = packed_operand(equal, ranks, 1, 8, {2, 8});
    EXPECT_EQ(ranked.indices, (std::vector<uint8_t>{3, 4}));
}

TEST(StceForm, RefusesWhatIsNoArrayNoProductAndNoMapping) {
    Stce stce;
    stce.rows = 0;
    EXPECT_THROW(check(stce), Error);
    EXPECT_THROW(check(EngineProduct{0, 1, 1, {}}), Error);
    EXPECT_THROW(check(EngineProduct{1, 1, 1, {4, 2}}), Error);
    EXPECT_THROW(check(EngineProduct{1 << 30, 1 << 30, 1 << 30, {}}), Error);
    const EngineProduct product = {8, 8, 32, {2, 8}};
    EXPECT_NE(why_illegal({}, product, {Dataflow::is}), "");
    EXPECT_NE(why_illegal({}, product, {Dataflow::ws, 17}), "");
    EXPECT_NE(why_illegal({}, {8, 8, 32, {}}, {Dataflow::ws, 16, false, 16}), "");
    EXPECT_NE(why_illegal({}, {8, 8, 32, {}}, {Dataflow::ws, 4, false, 17}), "");
    Stce small;
    small.max_group = 4;
    EXPECT_NE(why_illegal(small, product, {}), "");
    const std::vector<Half> streamed(8 * 32), weights(8 * 32);
    const IndexedOperand packed = packed_operand(weights, {}, 8, 32, {2, 8});
    EXPECT_THROW(run_stepped({}, product, {}, std::span(streamed).first(5), packed), Error);
    EXPECT_THROW(run_stepped({}, {8, 9, 32, {2, 8}}, {}, streamed, packed), Error);
    EXPECT_THROW(run_stepped({}, {8, 8, 32, {2, 4}}, {}, streamed, packed), Error);
    EXPECT_THROW(run_stepped({}, product, {Dataflow::is}, streamed, packed), Error);
    EXPECT_THROW(packed_operand(weights, {}, 8, 31, {2, 8}), Error);
    std::vector<float> out(3);
    EXPECT_THROW(software_product(streamed, packed, out), Error);
    EXPECT_THROW(state_at({}, product, {}, streamed, packed, 1 << 20), Error);
}

}  // namespace
}  // namespace enmesh::accel::sat
