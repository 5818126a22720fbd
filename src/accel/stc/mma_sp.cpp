#include "enmesh/accel/stc/mma_sp.hpp"

#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"

namespace enmesh::accel {
namespace {

void check(const MmaShape& shape, size_t a, size_t metadata, size_t b, size_t c) {
    const auto m = static_cast<size_t>(shape.m), n = static_cast<size_t>(shape.n),
               k = static_cast<size_t>(shape.k);
    if (shape.m < 1 || shape.n < 1 || shape.k < 16 || shape.k % 16 != 0) {
        refuse("mma.sp m{}n{}k{}: m and n are at least 1, k a multiple of 16", shape.m, shape.n, shape.k);
    }
    if (a != m * k / 2 || metadata != m * k / 4 || b != k * n || c != m * n) {
        refuse("mma.sp m{}n{}k{}: operands of {} (A), {} (metadata), {} (B) and {} (C) elements do not fit",
               shape.m, shape.n, shape.k, a, metadata, b, c);
    }
}

/// The two places of a quad.
struct Places {
    int first, second;
};

Places places_of(uint8_t nibble, int row, int quad) {
    const Places places{nibble & 3, nibble >> 2};
    if (nibble > 15 || places.first >= places.second) {
        refuse(
            "mma.sp: metadata {:#x} of row {}, quad {}: a nibble with its first place below its second is "
            "expected",
            nibble, row, quad);
    }
    return places;
}

/// sum(row, column) += a · b over the stored elements, ascending in k.
template <typename Sum, typename A, typename B>
void accumulate(const MmaShape& shape, std::span<const uint8_t> metadata, const A& a, const B& b,
                std::span<Sum> sums) {
    for (int row = 0; row < shape.m; ++row) {
        for (int quad = 0; quad < shape.k / 4; ++quad) {
            const Places places =
                places_of(metadata[static_cast<size_t>(row * (shape.k / 4) + quad)], row, quad);
            const auto stored = static_cast<size_t>(row * (shape.k / 2) + quad * 2);
            for (int column = 0; column < shape.n; ++column) {
                Sum& sum = sums[static_cast<size_t>(column)];
                const auto at = [&](int place) {
                    return static_cast<size_t>((quad * 4 + place) * shape.n + column);
                };
                sum += a(stored) * b(at(places.first));
                sum += a(stored + 1) * b(at(places.second));
            }
        }
        if (row + 1 < shape.m) sums = sums.subspan(static_cast<size_t>(shape.n));
    }
}

}  // namespace

std::string to_string(MmaType type) {
    switch (type) {
        case MmaType::f16:
            return "f16";
        case MmaType::bf16:
            return "bf16";
        case MmaType::i8:
            break;
    }
    return "i8";
}

void mma_sp(MmaType type, const MmaShape& shape, const MmaOperands& operands, std::span<float> c) {
    check(shape, operands.a.size(), operands.metadata.size(), operands.b.size(), c.size());
    if (type == MmaType::i8) refuse("mma.sp: INT8 operands have an overload of their own");
    const auto number = [type](uint16_t bits) {
        return static_cast<double>(type == MmaType::f16 ? to_float(Half{bits}) : to_float(BFloat16{bits}));
    };
    std::vector<double> sums(c.begin(), c.end());
    accumulate(
        shape, operands.metadata, [&](size_t i) { return number(operands.a[i]); },
        [&](size_t i) { return number(operands.b[i]); }, std::span<double>(sums));
    for (size_t i = 0; i < c.size(); ++i) c[i] = static_cast<float>(sums[i]);
}

void mma_sp(const MmaShape& shape, std::span<const int8_t> a, std::span<const uint8_t> metadata,
            std::span<const int8_t> b, std::span<int32_t> c) {
    check(shape, a.size(), metadata.size(), b.size(), c.size());
    std::vector<uint32_t> sums(c.begin(), c.end());
    accumulate(
        shape, metadata, [&](size_t i) { return static_cast<uint32_t>(a[i]); },
        [&](size_t i) { return static_cast<uint32_t>(b[i]); }, std::span<uint32_t>(sums));
    for (size_t i = 0; i < c.size(); ++i) c[i] = static_cast<int32_t>(sums[i]);
}

}  // namespace enmesh::accel
