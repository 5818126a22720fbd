#include <Vfp16_mac_1.h>
#include <Vfp16_mac_2.h>
#include <Vfp16_mac_3.h>
#include <Vfp16_mac_4.h>
#include <Vfp16_mac_7.h>
#include <Vfp16_mul.h>
#include <Vfp16_to_fp32.h>
#include <Vfp32_to_fp16.h>
#include <Vfp_add_4_3.h>
#include <Vfp_add_8_23.h>
#include <Vfp_add_no_sticky.h>
#include <Vfp_add_ties_up.h>
#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "rtl/fp_reference.hpp"

namespace enmesh::rtl {
namespace {

/// Halves of every sign and exponent, and 64 fractions of each.
std::vector<uint16_t> dense_halves() {
    std::vector<uint16_t> halves;
    for (uint32_t head = 0; head < 64; ++head)
        for (uint32_t i = 0; i < 64; ++i) {
            // Ends and powers of two, the rest spread.
            uint32_t fraction = i * 37 & 0x3ff;
            if (i < 10) fraction = 1U << i;
            if (i >= 10 && i < 20) fraction = 0x3ff ^ 1U << (i - 10);
            if (i == 20) fraction = 0;
            if (i == 21) fraction = 0x3ff;
            halves.push_back(static_cast<uint16_t>(head << 10 | fraction));
        }
    return halves;
}

TEST(RtlFp, MultiplierIsExactOnADenseSample) {
    Vfp16_mul unit;
    unit.clk_i = 0;
    const std::vector<uint16_t> halves = dense_halves();
    int64_t pairs = 0;
    for (const uint16_t a : halves)
        for (const uint16_t b : halves) {
            unit.a_i = a;
            unit.b_i = b;
            unit.eval();
            const uint32_t want = canonical_bits(to_float(Half{a}) * to_float(Half{b}));
            if (unit.product_o != want) FAIL() << std::hex << a << " * " << b << ": " << unit.product_o;
            ++pairs;
        }
    EXPECT_EQ(pairs, 4096 * 4096);
}

TEST(RtlFp, SmallAdderIsRightOnEveryPair) {
    Vfp_add_4_3 unit;
    unit.clk_i = 0;
    const Format format = {4, 3};
    for (uint32_t a = 0; a < 256; ++a)
        for (uint32_t b = 0; b < 256; ++b) {
            unit.a_i = static_cast<uint8_t>(a);
            unit.b_i = static_cast<uint8_t>(b);
            unit.eval();
            const uint64_t want = bits_of(format, value_of(format, a) + value_of(format, b));
            ASSERT_EQ(unit.sum_o, want) << a << " + " << b;
            ASSERT_EQ(add_slowly(format, a, b), want) << a << " + " << b;
        }
}

TEST(RtlFp, AdderIsRightOnDirectedPairs) {
    Vfp_add_8_23 unit;
    unit.clk_i = 0;
    const Format format = {8, 23};
    FloatDraws draws(31);
    int64_t subnormal = 0, nan = 0;
    for (int64_t i = 0; i < 2'000'000; ++i) {
        const uint32_t a = draws.draw(), b = draws.partner(a);
        unit.a_i = a;
        unit.b_i = b;
        unit.eval();
        const uint32_t want = canonical_bits(std::bit_cast<float>(a) + std::bit_cast<float>(b));
        ASSERT_EQ(unit.sum_o, want) << std::hex << a << " + " << b;
        ASSERT_EQ(add_slowly(format, a, b), want) << std::hex << a << " + " << b;
        subnormal += (want & 0x7fffffff) - 1 < 0x7fffff;
        nan += want == 0x7fc00000U;
    }
    EXPECT_GT(subnormal, 10000);
    EXPECT_GT(nan, 10000);
}

/// Sums fed back at distance `latency`, random bubbles, specials.
template <typename Unit>
void follow_a_mac(size_t latency, uint64_t seed) {
    static constexpr uint16_t specials[] = {0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7bff, 0xfbff, 0x0001, 0x8000};
    Unit unit;
    Random random(seed);
    struct Expected {
        bool valid;
        uint32_t sum;
    };
    std::deque<Expected> line(latency, Expected{false, 0});
    uint32_t visible = 0;
    int compared = 0;
    const auto half = [&] {
        if (random.below(400) == 0) return specials[random.below(8)];
        return to_half(random.normal() * std::ldexp(1.0F, static_cast<int>(random.below(13)) - 6)).bits;
    };
    for (int cycle = 0; cycle < 200'000; ++cycle) {
        unit.clk_i = 0;
        unit.value_i = half();
        unit.entry_i = half();
        // A finite chain never ends in -0 or a subnormal; one that overflowed or is a NaN begins anew.
        const bool again = (visible & 0x7f800000U) == 0x7f800000U || random.below(64) == 0;
        unit.before_i = again ? 0 : visible;
        unit.eval();
        const float before = std::bit_cast<float>(unit.before_i);
        const float product = to_float(Half{unit.value_i}) * to_float(Half{unit.entry_i});
        line.push_front({random.below(8) != 0, canonical_bits(before + product)});
        unit.clk_i = 1;
        unit.eval();
        const Expected want = line[latency - 1];
        line.pop_back();
        if (want.valid) {
            ASSERT_EQ(unit.sum_o, want.sum) << "cycle " << cycle;
            ++compared;
        }
        visible = want.valid ? want.sum : 0;
    }
    EXPECT_GT(compared, 150'000);
}

TEST(RtlFp, MultiplyAddOfEveryDepthFollowsItsChain) {
    follow_a_mac<Vfp16_mac_1>(1, 1);
    follow_a_mac<Vfp16_mac_2>(2, 2);
    follow_a_mac<Vfp16_mac_3>(3, 3);
    follow_a_mac<Vfp16_mac_4>(4, 4);
    follow_a_mac<Vfp16_mac_7>(7, 5);
}

TEST(RtlFp, WideningIsRightOnEveryHalf) {
    Vfp16_to_fp32 unit;
    for (uint32_t half = 0; half < 0x10000; ++half) {
        unit.half_i = static_cast<uint16_t>(half);
        unit.eval();
        ASSERT_EQ(unit.float_o, std::bit_cast<uint32_t>(to_float(Half{static_cast<uint16_t>(half)}))) << half;
    }
}

TEST(RtlFp, RoundingToHalfIsRightOnDirectedWords) {
    Vfp32_to_fp16 unit;
    const auto check = [&](uint32_t word) {
        unit.float_i = word;
        unit.eval();
        ASSERT_EQ(unit.half_o, to_half(std::bit_cast<float>(word)).bits) << std::hex << word;
    };
    // Every half, what lies half-way to the next, and their neighbours.
    for (uint32_t half = 0; half < 0x10000; ++half) {
        const uint32_t word = std::bit_cast<uint32_t>(to_float(Half{static_cast<uint16_t>(half)}));
        for (const uint32_t step : {0U, 0xfffU, 0x1000U, 0x1001U, 0x1U, 0xffffffffU}) check(word + step);
    }
    FloatDraws draws(33);
    for (int i = 0; i < 500'000; ++i) check(draws.draw());
}

/// A copy whose alignment drops the sticky bit, and one that rounds ties away: both must be seen.
template <typename Unit>
int64_t differences() {
    Unit unit;
    unit.clk_i = 0;
    FloatDraws draws(34);
    int64_t count = 0;
    for (int i = 0; i < 100'000; ++i) {
        const uint32_t a = draws.draw(), b = draws.partner(a);
        unit.a_i = a;
        unit.b_i = b;
        unit.eval();
        count += unit.sum_o != add_slowly({8, 23}, a, b);
    }
    return count;
}

TEST(RtlFp, MutatedAddersAreSeen) {
    EXPECT_EQ(differences<Vfp_add_8_23>(), 0);
    EXPECT_GT(differences<Vfp_add_no_sticky>(), 0);
    EXPECT_GT(differences<Vfp_add_ties_up>(), 0);
}

}  // namespace
}  // namespace enmesh::rtl
