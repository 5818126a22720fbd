#include "enmesh/accel/stc/mma_sp.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel {
namespace {

constexpr uint8_t nibbles[] = {0x4, 0x8, 0x9, 0xC, 0xD, 0xE};

uint16_t bits_of(MmaType type, float value) {
    return type == MmaType::f16 ? to_half(value).bits : to_bfloat16(value).bits;
}
double value_of(MmaType type, uint16_t bits) {
    return static_cast<double>(type == MmaType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits}));
}

TEST(MmaSp, IsTheDenseProductOfTheExpandedOperand) {
    Random random(1);
    for (const MmaType type : {MmaType::f16, MmaType::bf16}) {
        for (const MmaShape shape : {MmaShape{16, 8, 16}, MmaShape{16, 8, 32}, MmaShape{3, 5, 48}}) {
            const auto m = static_cast<size_t>(shape.m), n = static_cast<size_t>(shape.n),
                       k = static_cast<size_t>(shape.k);
            std::vector<uint16_t> a(m * k / 2), b(k * n);
            std::vector<uint8_t> metadata(m * k / 4);
            std::vector<float> c(m * n);
            for (uint16_t& bits : a) bits = bits_of(type, random.normal());
            for (uint16_t& bits : b) bits = bits_of(type, random.normal());
            for (uint8_t& nibble : metadata) nibble = nibbles[random.below(6)];
            for (float& value : c) value = random.normal();
            std::vector<double> expanded(m * k), want(c.begin(), c.end());
            for (size_t quad = 0; quad < metadata.size(); ++quad) {
                expanded[quad * 4 + (metadata[quad] & 3)] = value_of(type, a[quad * 2]);
                expanded[quad * 4 + (metadata[quad] >> 2)] = value_of(type, a[quad * 2 + 1]);
            }
            for (size_t i = 0; i < m; ++i)
                for (size_t j = 0; j < n; ++j)
                    for (size_t p = 0; p < k; ++p)
                        want[i * n + j] += expanded[i * k + p] * value_of(type, b[p * n + j]);
            mma_sp(type, shape, {a, b, metadata}, c);
            for (size_t i = 0; i < c.size(); ++i) EXPECT_EQ(c[i], static_cast<float>(want[i]));
        }
    }
}

TEST(MmaSp, SumsWiderThanItsOperands) {
    // 65504 + 2^-14 - 65504: neither FP16 nor FP32 sums would keep the small term.
    const MmaShape shape{1, 1, 16};
    std::vector<uint16_t> a(8), b(16, to_half(1.0F).bits);
    a[0] = to_half(65504.0F).bits;
    a[1] = to_half(0x1p-14F).bits;
    a[2] = to_half(-65504.0F).bits;
    const std::vector<uint8_t> metadata(4, 0x4);
    std::vector<float> c(1);
    mma_sp(MmaType::f16, shape, {a, b, metadata}, c);
    EXPECT_EQ(c[0], 0x1p-14F);
}

TEST(MmaSp, SpecialValuesComeThrough) {
    const MmaShape shape{1, 1, 16};
    std::vector<uint16_t> a(8), b(16);
    const std::vector<uint8_t> metadata(4, 0xE);
    a[0] = to_half(std::numeric_limits<float>::infinity()).bits;
    b[2] = to_half(1.0F).bits;
    std::vector<float> c(1);
    mma_sp(MmaType::f16, shape, {a, b, metadata}, c);
    EXPECT_EQ(c[0], std::numeric_limits<float>::infinity());
    b[2] = 0;
    mma_sp(MmaType::f16, shape, {a, b, metadata}, c);
    EXPECT_TRUE(std::isnan(c[0]));
}

TEST(MmaSp, Int8IsExactAndWraps) {
    const MmaShape shape{1, 2, 32};
    const std::vector<int8_t> a(16, -128), b(64, -128);
    const std::vector<uint8_t> metadata(8, 0x9);
    std::vector<int32_t> c = {5, std::numeric_limits<int32_t>::max()};
    mma_sp(shape, a, metadata, b, c);
    EXPECT_EQ(c[0], 5 + 16 * 128 * 128);
    EXPECT_EQ(c[1], static_cast<int32_t>(static_cast<uint32_t>(std::numeric_limits<int32_t>::max()) +
                                         16 * 128 * 128));
}

TEST(MmaSp, RefusesWhatHardwareCannotTake) {
    const MmaShape shape{1, 1, 16};
    std::vector<uint16_t> a(8), b(16);
    std::vector<uint8_t> metadata(4, 0x4);
    std::vector<float> c(1);
    for (int nibble = 0; nibble < 256; ++nibble) {
        metadata[2] = static_cast<uint8_t>(nibble);
        const bool valid = std::find(std::begin(nibbles), std::end(nibbles), nibble) != std::end(nibbles);
        if (valid)
            EXPECT_NO_THROW(mma_sp(MmaType::f16, shape, {a, b, metadata}, c));
        else
            EXPECT_THROW(mma_sp(MmaType::f16, shape, {a, b, metadata}, c), Error) << nibble;
    }
    metadata[2] = 0x4;
    EXPECT_THROW(mma_sp(MmaType::f16, {1, 1, 12}, {a, b, metadata}, c), Error);
    EXPECT_THROW(mma_sp(MmaType::f16, {2, 1, 16}, {a, b, metadata}, c), Error);
    EXPECT_THROW(mma_sp(MmaType::i8, shape, {a, b, metadata}, c), Error);
}

}  // namespace
}  // namespace enmesh::accel
