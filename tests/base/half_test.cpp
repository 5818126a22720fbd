#include "enmesh/base/half.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace enmesh {
namespace {

TEST(Half, EveryValueSurvivesTheRoundTrip) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const Half half{static_cast<uint16_t>(bits)};
        const float value = to_float(half);
        if (std::isnan(value)) {
            EXPECT_TRUE(std::isnan(to_float(to_half(value))));
        } else {
            EXPECT_EQ(to_half(value).bits, half.bits);
        }
    }
}

TEST(Half, RoundsToNearestEven) {
    EXPECT_EQ(to_half(1.0F + 0x1p-11F).bits, 0x3c00);             // halfway: to even
    EXPECT_EQ(to_half(1.0F + 0x1p-11F + 0x1p-20F).bits, 0x3c01);  // just above halfway
    EXPECT_EQ(to_half(1.0F + 3 * 0x1p-11F).bits, 0x3c02);         // halfway: to even, upwards
    EXPECT_EQ(to_half(65519.0F).bits, 0x7bff);
    EXPECT_EQ(to_half(65520.0F).bits, 0x7c00);
    EXPECT_EQ(to_half(-0.0F).bits, 0x8000);
    EXPECT_EQ(to_half(0x1p-25F).bits, 0x0000);
    EXPECT_EQ(to_half(0x1.8p-25F).bits, 0x0001);
    EXPECT_EQ(to_half(std::numeric_limits<float>::infinity()).bits, 0x7c00);
}

TEST(BFloat16, RoundsToNearestEven) {
    EXPECT_EQ(to_bfloat16(1.0F + 0x1p-8F).bits, 0x3f80);
    EXPECT_EQ(to_bfloat16(1.0F + 3 * 0x1p-8F).bits, 0x3f82);
    EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace enmesh
