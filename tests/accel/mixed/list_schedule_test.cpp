#include "accel/mixed/list_schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "accel/draw.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::mixed {
namespace {

using Starts = std::vector<int64_t>;

/// FF a, FF b; BP b beside WG b, then WG a; both updates wait for all of it.
const std::vector<Task> step = {{0, 0, 10}, {1, 0, 20},      {2, 0, 20},     {3, 1, 50},
                                {4, 1, 5},  {5, 0, 2, true}, {6, 0, 3, true}};
const std::map<int64_t, std::vector<int64_t>> needs = {{0, {}},  {1, {0}}, {2, {1}}, {3, {1}},
                                                       {4, {2}}, {5, {4}}, {6, {3}}};

TEST(ListSchedule, EnginesOverlapAsTheDependencesAllow) {
    const Placement side = list_schedule(step, needs);
    EXPECT_EQ(side.starts, (Starts{0, 10, 30, 30, 80, 85, 87}));
    EXPECT_EQ(side.cycles, 90);
    std::vector<Task> one_engine = step;
    for (Task& task : one_engine) task.engine = 0;
    EXPECT_EQ(list_schedule(one_engine, needs).cycles, 110);
}

TEST(ListSchedule, WithoutDependencesNothingOverlaps) {
    const Placement turns = list_schedule(step, {});
    EXPECT_EQ(turns.starts, (Starts{0, 10, 30, 50, 100, 105, 107}));
    EXPECT_EQ(turns.cycles, 110);
}

TEST(ListSchedule, APositionWithoutATaskPassesItsNeedsOn) {
    const std::vector<Task> tasks = {{0, 0, 10}, {2, 1, 7}};
    EXPECT_EQ(list_schedule(tasks, {{0, {}}, {1, {0}}, {2, {1}}}).starts, (Starts{0, 10}));
    EXPECT_EQ(list_schedule(tasks, {{0, {}}, {2, {}}}).starts, (Starts{0, 0}));
}

TEST(ListSchedule, TasksOfOnePositionFollowEachOther) {
    const std::vector<Task> tasks = {{0, 0, 10}, {0, 1, 7}, {1, 0, 1}};
    EXPECT_EQ(list_schedule(tasks, {{0, {}}, {1, {0}}}).starts, (Starts{0, 10, 17}));
}

/// Random steps: no engine runs two tasks at once, no task begins before what it needs has ended, and the
/// whole lies between the longest engine (or chain) and the sum.
TEST(ListSchedule, KeepsItsPromisesOnRandomSteps) {
    Random random(3);
    for (int round = 0; round < 200; ++round) {
        const auto count = static_cast<size_t>(draw(random, 1, 40));
        std::vector<Task> tasks;
        std::map<int64_t, std::vector<int64_t>> reads;
        for (size_t i = 0; i < count; ++i) {
            const auto position = static_cast<int64_t>(i);
            const bool update = i > count * 3 / 4;
            tasks.push_back({position, static_cast<size_t>(draw(random, 0, 1)), draw(random, 0, 30), update});
            reads[position] = {};
            for (int64_t j = 0; j < position; ++j)
                if (draw(random, 0, 5) == 0) reads[position].push_back(j);
        }
        const Placement placement = list_schedule(tasks, reads);
        int64_t sum = 0, last = 0;
        std::array<int64_t, 2> of_engine{};
        for (size_t i = 0; i < count; ++i) {
            const int64_t start = placement.starts[i], end = start + tasks[i].cycles;
            sum += tasks[i].cycles;
            of_engine[tasks[i].engine] += tasks[i].cycles;
            last = std::max(last, end);
            for (const int64_t need : reads[tasks[i].position]) {
                const auto j = static_cast<size_t>(need);
                ASSERT_GE(start, placement.starts[j] + tasks[j].cycles) << round;
            }
            for (size_t j = 0; j < i; ++j) {
                const int64_t other = placement.starts[j], other_end = other + tasks[j].cycles;
                if (tasks[j].engine == tasks[i].engine) {
                    ASSERT_TRUE(start >= other_end || other >= end) << round;
                }
                if (tasks[i].update && !tasks[j].update) {
                    ASSERT_GE(start, other_end) << round;
                }
            }
        }
        EXPECT_EQ(placement.cycles, last);
        EXPECT_LE(placement.cycles, sum) << round;
        EXPECT_GE(placement.cycles, std::max(of_engine[0], of_engine[1])) << round;
    }
}

}  // namespace
}  // namespace enmesh::accel::mixed
