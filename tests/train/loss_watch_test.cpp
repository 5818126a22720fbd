#include "enmesh/train/loss_watch.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

/// The update at which a run of `updates` with this loss was said to rise; 0: it was not.
int64_t rose_at(int64_t updates, int64_t images, const std::function<double(int64_t)>& loss) {
    LossWatch watch;
    int64_t times = 0;
    for (int64_t update = 1; update <= updates; ++update) {
        if (watch.add(loss(update), images, update)) ++times;
    }
    EXPECT_EQ(times, watch.rose_at > 0 ? 1 : 0);
    return watch.rose_at;
}

TEST(LossWatch, SaysOnceThatTheLossHasRisen) {
    const auto blows_up = [](int64_t update) { return update == 1 ? 2.3 : 2.3 + std::sqrt(update); };
    const int64_t step = rose_at(200, 128, blows_up);
    EXPECT_GT(step, 1);
    EXPECT_LE(step, 16);
    EXPECT_GT(rose_at(200, 8, blows_up), 0) << "also with small batches";
}

TEST(LossWatch, ALateRiseCountsToo) {
    EXPECT_GT(rose_at(400, 128, [](int64_t update) { return update <= 300 ? 0.1 : 5.0; }), 300);
}

TEST(LossWatch, NoiseIsNoRise) {
    for (const int64_t images : {1, 4, 32, 128, 1024}) {
        for (uint64_t seed = 0; seed < 20; ++seed) {
            Random random(seed, 0);
            // Falls from 2.3 to 1.5; single images spread by the mean, a batch by its share.
            const double spread = 1 / std::sqrt(static_cast<double>(images));
            const auto loss = [&](int64_t update) {
                const double mean = 1.5 + 0.8 * std::exp(-static_cast<double>(update) / 100);
                return mean * (1 + spread * (2 * random.uniform() - 1));
            };
            EXPECT_EQ(rose_at(2000, images, loss), 0) << images << " images, seed " << seed;
        }
    }
}

TEST(LossWatch, SaysNothingWhereTheFirstStepsWentByUnseen) {
    LossWatch watch;
    for (int64_t update = 50; update < 100; ++update)
        EXPECT_FALSE(watch.add(update < 60 ? 0.1 : 5, 128, update));
    EXPECT_EQ(watch, LossWatch{});
}

TEST(LossWatch, APlateauAtTheStartIsNoRise) {
    EXPECT_EQ(rose_at(1000, 128, [](int64_t update) { return 2.3 + 0.2 * std::sin(update); }), 0);
}

}  // namespace
}  // namespace enmesh
