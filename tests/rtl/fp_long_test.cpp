#include <Vfp16_mul.h>
#include <Vfp32_to_fp16.h>
#include <Vfp_add_5_10.h>
#include <Vfp_add_8_23.h>
#include <gtest/gtest.h>

#include "rtl/fp_reference.hpp"

// The complete enumerations of rtl/fp; docs/results/rtl.md holds counts and times.
namespace enmesh::rtl {
namespace {

TEST(RtlFpLong, MultiplierIsExactOnEveryPair) {
    Vfp16_mul unit;
    unit.clk_i = 0;
    uint64_t pairs = 0;
    for (uint32_t a = 0; a < 0x10000; ++a) {
        const float left = to_float(Half{static_cast<uint16_t>(a)});
        unit.a_i = static_cast<uint16_t>(a);
        for (uint32_t b = 0; b < 0x10000; ++b, ++pairs) {
            unit.b_i = static_cast<uint16_t>(b);
            unit.eval();
            if (unit.product_o != canonical_bits(left * to_float(Half{static_cast<uint16_t>(b)})))
                FAIL() << std::hex << a << " * " << b << ": " << unit.product_o;
        }
    }
    EXPECT_EQ(pairs, 1ULL << 32);
    printf("fp16_mul: %llu pairs, 0 differences\n", static_cast<unsigned long long>(pairs));
}

TEST(RtlFpLong, HalfAdderIsRightOnEveryPair) {
    Vfp_add_5_10 unit;
    unit.clk_i = 0;
    const Format format = {5, 10};
    std::vector<double> values(0x10000);
    for (uint32_t a = 0; a < 0x10000; ++a) values[a] = value_of(format, a);
    uint64_t pairs = 0;
    for (uint32_t a = 0; a < 0x10000; ++a)
        for (uint32_t b = 0; b < 0x10000; ++b, ++pairs) {
            unit.a_i = static_cast<uint16_t>(a);
            unit.b_i = static_cast<uint16_t>(b);
            unit.eval();
            if (unit.sum_o != bits_of(format, values[a] + values[b]))
                FAIL() << std::hex << a << " + " << b << ": " << unit.sum_o;
        }
    EXPECT_EQ(pairs, 1ULL << 32);
    printf("fp_add 5,10: %llu pairs, 0 differences\n", static_cast<unsigned long long>(pairs));
}

TEST(RtlFpLong, AdderIsRightOnTwentyMillionDirectedPairs) {
    Vfp_add_8_23 unit;
    unit.clk_i = 0;
    FloatDraws draws(35);
    for (int64_t i = 0; i < 20'000'000; ++i) {
        const uint32_t a = draws.draw(), b = draws.partner(a);
        unit.a_i = a;
        unit.b_i = b;
        unit.eval();
        const uint32_t want = canonical_bits(std::bit_cast<float>(a) + std::bit_cast<float>(b));
        ASSERT_EQ(unit.sum_o, want) << std::hex << a << " + " << b;
        ASSERT_EQ(add_slowly({8, 23}, a, b), want) << std::hex << a << " + " << b;
    }
    printf("fp_add 8,23: 20000000 directed pairs, 0 differences\n");
}

TEST(RtlFpLong, RoundingToHalfIsRightOnEveryWord) {
    Vfp32_to_fp16 unit;
    uint64_t words = 0;
    for (uint64_t word = 0; word < 1ULL << 32; ++word, ++words) {
        unit.float_i = static_cast<uint32_t>(word);
        unit.eval();
        if (unit.half_o != to_half(std::bit_cast<float>(static_cast<uint32_t>(word))).bits)
            FAIL() << std::hex << word << ": " << unit.half_o;
    }
    printf("fp32_to_fp16: %llu words, 0 differences\n", static_cast<unsigned long long>(words));
}

}  // namespace
}  // namespace enmesh::rtl
