#pragma once

#include <cmath>
#include <cstdint>

#include "layout.hpp"

/// How a result is compared with the plain kernel's, shared with the CPU tests.
namespace enmesh::cuda {

/// SplitMix64's finaliser over a Weyl sequence (Steele, Lea, Flood 2014).
ENMESH_HOST_DEVICE constexpr uint64_t scramble(uint64_t at, uint64_t stream) {
    uint64_t z = (at + 1) * 0x9e3779b97f4a7c15ULL + stream;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/// Up to this many multiply-adds every result of a product is compared, above it `samples` of them.
constexpr int64_t small_product = int64_t{1} << 31;
constexpr int64_t samples = 4096;

/// The row and column that comparison `index` looks at: the four corners of the result first, then anywhere.
struct Place {
    int64_t row, col;
};
ENMESH_HOST_DEVICE constexpr Place sample_at(int64_t index, int64_t rows, int64_t cols) {
    if (index < 4) return {(index & 1) != 0 ? rows - 1 : 0, (index & 2) != 0 ? cols - 1 : 0};
    const uint64_t random = scramble(static_cast<uint64_t>(index), 7);
    return {static_cast<int64_t>((random >> 32) % static_cast<uint64_t>(rows)),
            static_cast<int64_t>((random & 0xffffffffU) % static_cast<uint64_t>(cols))};
}

/// A product's sum in double, the sum of its terms' magnitudes and that of their squares.
struct Reference {
    double sum, magnitudes, squares;
};

/// How a result comes about: exact sums of whole numbers, rounded once; FP32 sums, rounded once; several
/// partial sums that are rounded before they are added (a library may split the depth).
enum class Roundings : uint8_t { exact, one, several };

/// The largest difference that is right: the result's own rounding (11 bits of FP16, 8 of BF16) and half of
/// FP16's smallest number; of FP32 sums of `depth` terms what each step may lose in its last bit; of partial
/// sums their rounding, four times their likely size.
ENMESH_HOST_DEVICE double allowed_difference(const Reference& reference, double depth, bool bf16,
                                             Roundings roundings) {
    const double unit = bf16 ? 0x1p-8 : 0x1p-11;
    double allowed = fabs(reference.sum) * unit + 0x1p-25;
    if (roundings != Roundings::exact) allowed += reference.magnitudes * 0x1p-23 * (4 + sqrt(depth) / 4);
    if (roundings == Roundings::several) allowed += 4 * sqrt(reference.squares) * unit;
    return allowed;
}

/// NaN on either side is wrong.
ENMESH_HOST_DEVICE constexpr bool is_wrong(double result, double reference, double allowed) {
    const double difference = result < reference ? reference - result : result - reference;
    return !(difference <= allowed);
}

}  // namespace enmesh::cuda
