#pragma once

#include <bit>
#include <cstring>
#include <limits>
#include <vector>

#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {

/// A small product on a small array, with operands.
struct StceCase {
    Stce stce;
    EngineProduct product;
    EngineMapping mapping;
    std::vector<Half> streamed;
    IndexedOperand indexed;
};

inline int draw(Random& random, int low, int high) {
    return low + static_cast<int>(random.below(static_cast<uint64_t>(high - low + 1)));
}

/// Values of mixed magnitude, so that sums round and cancel; now and then a zero of either sign or a
/// subnormal.
inline std::vector<Half> random_halves(Random& random, size_t count) {
    std::vector<Half> values(count);
    for (Half& value : values) {
        value = to_half(random.normal() * std::ldexp(1.0F, draw(random, -6, 6)));
        if (random.below(16) == 0)
            value = Half{static_cast<uint16_t>(random.below(2) << 15 | random.below(3))};
    }
    return values;
}

inline IndexedOperand operand_of(const EngineProduct& product, const EngineMapping& mapping,
                                 std::span<const Half> weights) {
    return product.dense() ? dense_operand(weights, product.n, product.k, mapping.group)
                           : packed_operand(weights, {}, product.n, product.k, product.pattern);
}

inline Stce random_stce(Random& random, int largest_side) {
    Stce stce;
    stce.rows = draw(random, 1, largest_side);
    stce.cols = draw(random, 1, largest_side);
    stce.adder_latency = draw(random, 1, 6);
    stce.packed_sets = draw(random, 1, 2);
    stce.accumulator_sets = draw(random, 1, 2);
    stce.row_link_values = draw(random, 1, 5);
    stce.column_link_values = draw(random, 1, 3);
    stce.latches = 2 * draw(random, 1, 6);
    return stce;
}

/// A product that the given array can run.
inline StceCase random_case_on(Random& random, const Stce& stce, int largest_extent) {
    StceCase c;
    c.stce = stce;
    c.product = {draw(random, 1, largest_extent),
                 draw(random, 1, largest_extent),
                 draw(random, 1, 2 * largest_extent),
                 {}};
    if (random.below(3) != 0) {
        c.product.pattern.m = draw(random, 2, 16);
        c.product.pattern.n = draw(random, 1, c.product.pattern.m - 1);
    }
    do {
        c.mapping.dataflow = random.below(2) == 0 ? Dataflow::ws : Dataflow::os;
        c.mapping.interleave = random.below(4) == 0 ? 1 : draw(random, 1, 6);
        c.mapping.interleave_pixels = random.below(3) == 0;
        c.mapping.group = draw(random, 1, 16);
        c.mapping.tile_m = random.below(2) == 0 ? 0 : draw(random, 1, largest_extent);
    } while (!legal(c.stce, c.product, c.mapping));
    c.streamed = random_halves(random, static_cast<size_t>(c.product.m * c.product.k));
    c.indexed = operand_of(c.product, c.mapping,
                           random_halves(random, static_cast<size_t>(c.product.n * c.product.k)));
    return c;
}

inline StceCase random_case(Random& random, int largest_side = 5, int largest_extent = 24) {
    return random_case_on(random, random_stce(random, largest_side), largest_extent);
}

/// The plain product, in the stated order, from the unpacked weights: pruned elements are skipped by their
/// absence.
inline std::vector<float> plain_product(const StceCase& c) {
    std::vector<float> out(static_cast<size_t>(c.product.m * c.product.n));
    const IndexedOperand& w = c.indexed;
    for (int64_t i = 0; i < c.product.m; ++i)
        for (int64_t j = 0; j < c.product.n; ++j) {
            volatile float sum = 0;  // volatile: each add rounds to FP32, nothing is fused
            for (int64_t g = 0; g < w.groups; ++g)
                for (int e = 0; e < w.values; ++e) {
                    const auto at = static_cast<size_t>((j * w.groups + g) * w.values + e);
                    const int64_t k = w.base(g) + w.indices[at];
                    if (k >= c.product.k) continue;
                    volatile float product = to_float(c.streamed[static_cast<size_t>(i * c.product.k + k)]) *
                                             to_float(w.entries[at]);
                    sum = sum + product;
                }
            const float value = sum;
            out[static_cast<size_t>(i * c.product.n + j)] =
                value == value ? value : std::bit_cast<float>(0x7fc00000U);
        }
    return out;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::string describe(const StceCase& c) {
    const Stce& s = c.stce;
    const EngineMapping& m = c.mapping;
    return std::to_string(s.rows) + "x" + std::to_string(s.cols) + " L" + std::to_string(s.adder_latency) +
           " sets " + std::to_string(s.packed_sets) + "," + std::to_string(s.accumulator_sets) + " links " +
           std::to_string(s.row_link_values) + "," + std::to_string(s.column_link_values) + " m" +
           std::to_string(c.product.m) + " n" + std::to_string(c.product.n) + " k" +
           std::to_string(c.product.k) + " " + std::to_string(c.product.pattern.n) + ":" +
           std::to_string(c.product.pattern.m) + " " + to_string(m.dataflow) + " I" +
           std::to_string(m.interleave) + (m.interleave_pixels ? "p" : "c") + " D" + std::to_string(m.group) +
           " T" + std::to_string(m.tile_m);
}

}  // namespace enmesh::accel::sat
