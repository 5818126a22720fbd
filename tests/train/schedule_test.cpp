#include "enmesh/train/schedule.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

void expect_rates(const Schedule& schedule, double base, const RunLength& length,
                  const std::vector<double>& want) {
    for (size_t update = 0; update < want.size(); ++update) {
        const double got = learning_rate(schedule, base, static_cast<int64_t>(update), length);
        EXPECT_NEAR(got, want[update], 1e-12) << to_string(schedule) << " at update " << update;
    }
}

TEST(Schedule, ConstantWithWarmup) {
    expect_rates({.kind = ScheduleKind::constant, .warmup = 2, .milestones = {}}, 0.8, {4, 2},
                 {0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8});
}

TEST(Schedule, CosineFallsFromTheBaseTowardsZero) {
    expect_rates({.kind = ScheduleKind::cosine, .warmup = 0, .milestones = {}}, 2.0, {2, 2},
                 {2.0, 1.7071067811865475, 1.0, 0.2928932188134524});
    expect_rates({.kind = ScheduleKind::cosine, .warmup = 0.5, .milestones = {}}, 2.0, {3, 2},
                 {2.0, 2.0, 1.8090169943749475, 1.3090169943749475, 0.6909830056250525, 0.1909830056250525});
}

TEST(Schedule, RisesForAFifthOfTheRunWhereNothingIsSaid) {
    expect_rates({.kind = ScheduleKind::constant, .milestones = {}}, 1.0, {5, 2},
                 {0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1});
    expect_rates({.kind = ScheduleKind::cosine, .milestones = {}}, 2.0, {5, 1},
                 {2.0, 2.0, 1.7071067811865475, 1.0, 0.2928932188134524});
    EXPECT_EQ(warmup_epochs({}, {20, 3}), 4);
    EXPECT_EQ(warmup_epochs({.warmup = 0}, {20, 3}), 0);
    EXPECT_EQ(warmup_epochs({.kind = ScheduleKind::one_cycle}, {20, 3}), 6);
}

TEST(Schedule, AllWarmup) {
    expect_rates({.kind = ScheduleKind::cosine, .warmup = 2, .milestones = {}}, 1.0, {1, 2}, {0.25, 0.5});
}

TEST(Schedule, StepsAtItsMilestones) {
    expect_rates({.kind = ScheduleKind::step, .warmup = 0, .milestones = {1, 2.5}}, 1.0, {3, 2},
                 {1, 1, 0.1, 0.1, 0.1, 0.01});
    expect_rates({.kind = ScheduleKind::step, .warmup = 0, .milestones = {}, .factor = 0.5}, 1.0, {4, 1},
                 {1, 1, 0.5, 0.25});
}

// The values of torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10) with its defaults.
TEST(Schedule, OneCycleAsPyTorchHasIt) {
    expect_rates({.kind = ScheduleKind::one_cycle, .milestones = {}}, 1.0, {5, 2},
                 {0.04, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.6112620219362893,
                  0.3887419780637107, 0.1882583460502370, 0.0495193679865263, 0.000004});
}

TEST(Schedule, Reads) {
    EXPECT_EQ(parse_schedule("one-cycle").kind, ScheduleKind::one_cycle);
    EXPECT_EQ(parse_schedule("step:30,60.5").milestones, (std::vector<double>{30, 60.5}));
    EXPECT_EQ(to_string(parse_schedule("step:30,60.5")), "step:30,60.5");
    EXPECT_EQ(to_string(parse_schedule("cosine")), "cosine");
}

TEST(Schedule, Refuses) {
    const auto message = [](std::string_view text) -> std::string {
        try {
            parse_schedule(text);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message("cosin"), "unknown schedule 'cosin' (did you mean 'cosine'?)");
    EXPECT_EQ(message("cosine:3"), "schedule 'cosine:3': only step takes epochs");
    EXPECT_EQ(message("step:3,x"),
              "schedule 'step:3,x': 'x' is not an epoch above 0; an example is step:30,60,80");
    EXPECT_EQ(message("step:3,nan"),
              "schedule 'step:3,nan': 'nan' is not an epoch above 0; an example is step:30,60,80");
    EXPECT_EQ(message("step:9,3"), "schedule 'step:9,3': the epochs must rise");
}

}  // namespace
}  // namespace enmesh
