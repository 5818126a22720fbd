#include "enmesh/step/memory_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

void check_plan(const std::vector<Lifetime>& lifetimes, int64_t alignment) {
    const MemoryPlan plan = plan_memory(lifetimes, alignment);
    ASSERT_EQ(plan.offsets.size(), lifetimes.size());
    int64_t end = 0, alive_most = 0;
    for (size_t i = 0; i < lifetimes.size(); ++i) {
        EXPECT_EQ(plan.offsets[i] % alignment, 0);
        EXPECT_GE(plan.offsets[i], 0);
        end = std::max(end, plan.offsets[i] + lifetimes[i].bytes);
        for (size_t j = 0; j < i; ++j) {
            const bool together =
                lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last;
            const bool apart = plan.offsets[i] + lifetimes[i].bytes <= plan.offsets[j] ||
                               plan.offsets[j] + lifetimes[j].bytes <= plan.offsets[i];
            EXPECT_TRUE(!together || apart) << i << " and " << j << " overlap";
        }
    }
    for (int position = 0; position < 100; ++position) {
        int64_t alive = 0;
        for (const Lifetime& life : lifetimes) {
            if (life.first <= position && position <= life.last)
                alive += (life.bytes + alignment - 1) / alignment * alignment;
        }
        alive_most = std::max(alive_most, alive);
    }
    EXPECT_LE(end, plan.bytes);
    EXPECT_EQ(plan.lower_bound, alive_most);
    EXPECT_LE(plan.lower_bound, plan.bytes);
}

TEST(MemoryPlan, NothingAndOne) {
    check_plan({}, 64);
    check_plan({{100, 3, 3}}, 64);
    EXPECT_EQ(plan_memory({{100, 0, 9}}).bytes, 128);
}

TEST(MemoryPlan, ReusesWhatIsDead) {
    const MemoryPlan plan = plan_memory({{64, 0, 1}, {64, 1, 2}, {64, 2, 3}, {64, 3, 4}});
    EXPECT_EQ(plan.bytes, 128);
    EXPECT_EQ(plan.lower_bound, 128);
}

TEST(MemoryPlan, NeverOverlapsOnRandomLifetimes) {
    Random random(9);
    for (int trial = 0; trial < 60; ++trial) {
        std::vector<Lifetime> lifetimes;
        const uint64_t count = random.below(60);
        for (uint64_t i = 0; i < count; ++i) {
            const int first = static_cast<int>(random.below(90));
            const int length = static_cast<int>(random.below(trial % 2 == 0 ? 10 : 90));
            // Sizes repeat, and some are zero.
            lifetimes.push_back({static_cast<int64_t>(random.below(8) * random.below(50)), first,
                                 std::min(first + length, 99)});
        }
        check_plan(lifetimes, trial % 3 == 0 ? 1 : 64);
    }
}

}  // namespace
}  // namespace enmesh
