#include "enmesh/accel/sat/sore.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {
namespace {

SoreGroup group_of(std::initializer_list<float> ranks) {
    SoreGroup group;
    size_t i = 0;
    for (const float rank : ranks) {
        group.ranks[i] = rank;
        group.values[i++] = to_half(rank);
    }
    return group;
}

std::vector<int> indices(const SorePacked& packed, int n) {
    return {packed.indices.begin(), packed.indices.begin() + n};
}

TEST(Sore, PicksTheLargestMagnitudesInIndexOrder) {
    const SorePacked packed = sore_select(group_of({0.5F, -3, 1, 2}), {2, 4});
    EXPECT_EQ(indices(packed, 2), (std::vector{1, 3}));
    EXPECT_EQ(packed.values[0], to_half(-3));
    EXPECT_EQ(packed.values[1], to_half(2));
}

TEST(Sore, TiesGoToTheLowestIndexWhateverTheSign) {
    EXPECT_EQ(indices(sore_select(group_of({1, -1, 1, 1}), {2, 4}), 2), (std::vector{0, 1}));
    EXPECT_EQ(indices(sore_select(group_of({0, -0.0F, 0, 0, 0, 0, 0, 0}), {3, 8}), 3),
              (std::vector{0, 1, 2}));
    EXPECT_EQ(indices(sore_select(group_of({1, 2, -2, 2}), {1, 4}), 1), (std::vector{1}));
}

TEST(Sore, EveryBitPatternHasItsPlace) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(indices(sore_select(group_of({inf, 1, nan, 0}), {1, 4}), 1), (std::vector{2}));
    EXPECT_EQ(indices(sore_select(group_of({-inf, 1, 7, 0}), {1, 4}), 1), (std::vector{0}));
}

TEST(Sore, ThePipelineEqualsTheSortAndTheClosedForm) {
    Random random(7);
    for (int trial = 0; trial < 400; ++trial) {
        Pattern pattern;
        pattern.m = static_cast<int>(2 + random.below(15));
        pattern.n = static_cast<int>(1 + random.below(static_cast<uint64_t>(pattern.m - 1)));
        const Sore sore = {static_cast<int>(1 + random.below(9)), static_cast<int>(4 + random.below(5))};
        std::vector<SoreGroup> groups(1 + random.below(40));
        for (SoreGroup& group : groups)
            for (int i = 0; i < pattern.m; ++i) {
                group.ranks[i] = static_cast<float>(static_cast<int>(random.below(9)) - 4);
                group.values[i] = to_half(random.normal());
            }
        const SoreRun run = run_sore(sore, pattern, groups);
        ASSERT_EQ(run.cycles, sore_cycles(sore, static_cast<int64_t>(groups.size())));
        ASSERT_EQ(run.packed.size(), groups.size());
        for (size_t g = 0; g < groups.size(); ++g) ASSERT_EQ(run.packed[g], sore_select(groups[g], pattern));
    }
}

TEST(Sore, LinesWithTailsBecomeTheEnginesOperand) {
    Random random(11);
    int ragged = 0;
    for (int trial = 0; trial < 300; ++trial) {
        Pattern pattern;
        pattern.m = static_cast<int>(2 + random.below(15));
        pattern.n = static_cast<int>(1 + random.below(static_cast<uint64_t>(pattern.m - 1)));
        const Sore sore = {static_cast<int>(1 + random.below(5)), static_cast<int>(4 + random.below(4))};
        const auto lines = static_cast<int64_t>(1 + random.below(9)),
                   k = static_cast<int64_t>(1 + random.below(50));
        std::vector<float> ranks(static_cast<size_t>(lines * k));
        std::vector<Half> values(ranks.size());
        for (size_t i = 0; i < ranks.size(); ++i) {
            ranks[i] = static_cast<float>(static_cast<int>(random.below(9)) - 4);
            values[i] = to_half(random.normal());
        }
        const SoreLines run = run_sore_lines(sore, pattern, k, ranks, values);
        const IndexedOperand want = packed_operand(values, ranks, lines, k, pattern);
        ASSERT_EQ(run.cycles, sore_cycles(sore, (lines * k + pattern.m - 1) / pattern.m));
        ASSERT_EQ(run.groups, want.groups);
        ASSERT_EQ(run.entries, want.entries) << to_string(pattern) << " k " << k;
        ASSERT_EQ(run.indices, want.indices) << to_string(pattern) << " k " << k;
        ragged += k % pattern.m != 0;
    }
    EXPECT_GE(ragged, 200);
}

TEST(Sore, ASelectorEmitsExactlyLatencyCyclesAfterEntry) {
    const Sore sore = {1, 6};
    SoreSelector selector(sore, {2, 4});
    EXPECT_FALSE(selector.clock(group_of({1, 2, 3, 4})).has_value());
    for (int c = 1; c < 5; ++c) EXPECT_FALSE(selector.clock(std::nullopt).has_value()) << c;
    EXPECT_TRUE(selector.clock(std::nullopt).has_value());
    EXPECT_FALSE(selector.clock(std::nullopt).has_value());
}

TEST(Sore, RefusesParametersOutOfRange) {
    EXPECT_THROW(check(Sore{0, 4}), Error);
    EXPECT_THROW(check(Sore{8, 3}), Error);
    EXPECT_EQ(sore_cycles({8, 4}, 0), 0);
}

}  // namespace
}  // namespace enmesh::accel::sat
