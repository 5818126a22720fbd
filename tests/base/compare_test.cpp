#include "enmesh/base/compare.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace enmesh {
namespace {

TEST(Compare, AcceptsWithinTolerance) {
    const std::vector<float> want{1.0F, -2.0F}, got{1.0F, -2.0001F};
    EXPECT_TRUE(compare(got, want, 1e-3).ok());
    EXPECT_FALSE(compare(got, want, 1e-6).ok());
}

TEST(Compare, NanFailsOnEitherSide) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> clean{1.0F, 2.0F, 3.0F};
    for (size_t i = 0; i < clean.size(); ++i) {
        std::vector<float> dirty = clean;
        dirty[i] = nan;
        EXPECT_FALSE(compare(dirty, clean, 1e6).ok());
        EXPECT_FALSE(compare(clean, dirty, 1e6).ok());
        EXPECT_FALSE(compare(dirty, dirty, 1e6).ok());
    }
}

TEST(Compare, InfinityFails) {
    const std::vector<float> want{1.0F}, got{std::numeric_limits<float>::infinity()};
    EXPECT_FALSE(compare(got, want, 1e6).ok());
}

TEST(Compare, AllZeroOutputIsDistrusted) {
    const std::vector<float> want{1e-9F, 1.0F}, zero{0.0F, 0.0F};
    EXPECT_FALSE(compare(zero, want, 2.0).ok());
    EXPECT_TRUE(compare(zero, zero, 0.0).ok());
}

TEST(Compare, SizesMustMatch) {
    const std::vector<float> two{1.0F, 2.0F}, one{1.0F};
    EXPECT_FALSE(compare(one, two, 1e6).ok());
}

}  // namespace
}  // namespace enmesh
