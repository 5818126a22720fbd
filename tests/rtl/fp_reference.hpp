#pragma once

#include <verilated.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"

/// References for rtl/fp: what the units must give, by other means than theirs.
namespace enmesh::rtl {

__extension__ using Wide = unsigned __int128;

struct Format {
    int exponent_bits;
    int fraction_bits;
    int width() const { return 1 + exponent_bits + fraction_bits; }
    uint64_t exponent_ones() const { return (1ULL << exponent_bits) - 1; }
    uint64_t nan() const {
        return exponent_ones() << fraction_bits | 1ULL << (fraction_bits - 1);
    }
};

inline uint32_t canonical_bits(float value) {
    return value == value ? std::bit_cast<uint32_t>(value) : 0x7fc00000U;
}

/// A significand times 2^exponent, rounded to nearest even into the format's bits; exponent is that of the
/// significand's bit 0. `sticky`: something below bit 0 was dropped.
inline uint64_t round_slowly(const Format& f, bool minus, Wide significand, int exponent,
                             bool sticky) {
    const uint64_t sign = static_cast<uint64_t>(minus) << (f.width() - 1);
    const int bias = (1 << (f.exponent_bits - 1)) - 1;
    const int least = 1 - bias - f.fraction_bits;  // the exponent of a subnormal's last bit
    int top = 127;
    while (top >= 0 && (significand >> top & 1) == 0) --top;
    if (top < 0) return sign;
    const int last = std::max(exponent + top - f.fraction_bits, least);  // of the rounded significand
    uint64_t kept = 0;
    if (last <= exponent) {
        kept = static_cast<uint64_t>(significand << (exponent - last));
    } else {
        const int drop = std::min(last - exponent, 127);
        const Wide rest = significand & ((static_cast<Wide>(1) << drop) - 1);
        const Wide half = static_cast<Wide>(1) << (drop - 1);
        kept = static_cast<uint64_t>(significand >> drop);
        if (rest > half || (rest == half && (sticky || (kept & 1) != 0))) ++kept;
    }
    // The hidden bit adds one to the exponent's field, a carry out of the fraction another.
    const uint64_t field = static_cast<uint64_t>(last - least);
    const uint64_t magnitude = (field << f.fraction_bits) + kept;
    return sign | std::min(magnitude, f.exponent_ones() << f.fraction_bits);
}

/// a + b in integers of 128 bits.
inline uint64_t add_slowly(const Format& f, uint64_t a, uint64_t b) {
    const uint64_t magnitude_mask = (1ULL << (f.width() - 1)) - 1, infinity = f.exponent_ones()
                                                                              << f.fraction_bits;
    if ((a & magnitude_mask) < (b & magnitude_mask)) std::swap(a, b);
    const uint64_t big = a & magnitude_mask, small = b & magnitude_mask;
    const bool minus = a >> (f.width() - 1) != 0, differ = ((a ^ b) >> (f.width() - 1)) != 0;
    if (big > infinity || (small == infinity && differ)) return f.nan();
    if (big == infinity) return a;
    if (big == small && differ) return 0;
    const auto significand = [&](uint64_t x) {
        const uint64_t fraction = x & ((1ULL << f.fraction_bits) - 1);
        return x >> f.fraction_bits != 0 ? fraction | 1ULL << f.fraction_bits : fraction;
    };
    const auto exponent = [&](uint64_t x) {
        return std::max<int>(static_cast<int>(x >> f.fraction_bits), 1);
    };
    constexpr int room = 64;  // beyond it the smaller one is only a trace
    const int distance = exponent(big) - exponent(small);
    const int bias = (1 << (f.exponent_bits - 1)) - 1;
    const int last = exponent(big) - bias - f.fraction_bits - room;
    Wide total = static_cast<Wide>(significand(big)) << room;
    Wide other = static_cast<Wide>(significand(small)) << room;
    bool sticky = false;
    if (distance > 0) {
        const int drop = std::min(distance, 127);
        sticky = (other & ((static_cast<Wide>(1) << drop) - 1)) != 0;
        other >>= drop;
    }
    if (differ) {
        total -= other;
        if (sticky) --total;  // and what is below bit 0 remains of the one that was borrowed
    } else {
        total += other;
    }
    return round_slowly(f, minus, total, last, sticky);
}

/// A value of the format as a double: exact for what fits, small formats do.
inline double value_of(const Format& f, uint64_t bits) {
    const auto fraction = static_cast<double>(bits & ((1ULL << f.fraction_bits) - 1));
    const auto field = static_cast<int>(bits >> f.fraction_bits & f.exponent_ones());
    const int bias = (1 << (f.exponent_bits - 1)) - 1;
    const double sign = bits >> (f.width() - 1) != 0 ? -1 : 1;
    if (static_cast<uint64_t>(field) == f.exponent_ones())
        return fraction == 0 ? sign * INFINITY : std::nan("");
    const double scaled = std::ldexp(fraction, -f.fraction_bits) + (field == 0 ? 0 : 1);
    return sign * std::ldexp(scaled, std::max(field, 1) - bias);
}

/// A double, rounded to nearest even into a small format.
inline uint64_t bits_of(const Format& f, double value) {
    if (std::isnan(value)) return f.nan();
    const uint64_t sign = static_cast<uint64_t>(std::signbit(value)) << (f.width() - 1);
    const uint64_t infinity = f.exponent_ones() << f.fraction_bits;
    if (std::isinf(value)) return sign | infinity;
    const int bias = (1 << (f.exponent_bits - 1)) - 1;
    const int exponent = value == 0 ? -2000 : std::ilogb(value);
    const int last = std::max(exponent, 1 - bias) - f.fraction_bits;
    const double count = std::nearbyint(std::ldexp(std::fabs(value), -last));
    const uint64_t field = static_cast<uint64_t>(std::max(exponent, 1 - bias) - (1 - bias));
    return sign | std::min((field << f.fraction_bits) + static_cast<uint64_t>(count), infinity);
}

/// Operands that find mistakes: families of exponents and fractions, near cancellations, ties.
class FloatDraws {
  public:
    explicit FloatDraws(uint64_t seed) : random_(seed) {}

    uint32_t draw() {
        switch (random_.below(8)) {
            case 0: return static_cast<uint32_t>(random_.next());
            case 1: return sign() | exponent() << 23 | (static_cast<uint32_t>(random_.next()) & 0x7fffff);
            default: return sign() | exponent() << 23 | fraction();
        }
    }
    /// One that meets `a`: close exponents, or its negative but for a few units.
    uint32_t partner(uint32_t a) {
        switch (random_.below(4)) {
            case 0: return draw();
            case 1: return (a ^ 0x80000000U) + static_cast<uint32_t>(random_.below(9)) - 4;
            default: {
                const int field = static_cast<int>(a >> 23 & 0xff) + static_cast<int>(random_.below(61)) - 30;
                return sign() | static_cast<uint32_t>(std::clamp(field, 0, 255)) << 23 | fraction();
            }
        }
    }
    Random& random() { return random_; }

  private:
    uint32_t sign() { return static_cast<uint32_t>(random_.below(2)) << 31; }
    uint32_t exponent() {
        static constexpr uint32_t seeds[] = {0,   1,   2,   24,  63,  64,  100, 103, 112, 126, 127,
                                             128, 129, 142, 143, 150, 151, 191, 192, 252, 253, 254, 255};
        return seeds[random_.below(std::size(seeds))];
    }
    uint32_t fraction() {
        const auto bit = static_cast<int>(random_.below(23));
        const auto other = static_cast<int>(random_.below(23));
        switch (random_.below(7)) {
            case 0: return 0;
            case 1: return 1U << bit;
            case 2: return 0x7fffff ^ 1U << bit;
            case 3: return (1U << bit) - 1;
            case 4: return 0x7fffff & ~((1U << bit) - 1);
            case 5: return (1U << bit | 1U << other) & 0x7fffff;
            default: return static_cast<uint32_t>(random_.next()) & 0x7fffff;
        }
    }
    Random random_;
};

}  // namespace enmesh::rtl
