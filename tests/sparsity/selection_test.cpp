#include "enmesh/sparsity/selection.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

std::vector<int> kept_of(const std::vector<double>& group, size_t n) {
    std::vector<uint8_t> kept(n);
    select_magnitude(group, kept);
    return {kept.begin(), kept.end()};
}

TEST(SelectMagnitude, KeepsTheLargestTiesToTheLowestIndex) {
    EXPECT_EQ(kept_of({1, -4, 3, 2}, 2), (std::vector<int>{1, 2}));
    EXPECT_EQ(kept_of({1, 1, -1, 1}, 2), (std::vector<int>{0, 1}));
    EXPECT_EQ(kept_of({0, 2, -2, 2, 5}, 2), (std::vector<int>{1, 4}));
    EXPECT_EQ(kept_of({0, 0, 0, 0}, 3), (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(kept_of({9, std::numeric_limits<double>::quiet_NaN(), 8, 10}, 1), (std::vector<int>{1}));
}

/// tau of the definition, by bisection: the sum of min(1, a / tau) is n.
std::vector<double> expected_probabilities(const std::vector<double>& group, double n) {
    const auto sum = [&](double tau) {
        double total = 0;
        for (const double x : group) total += std::min(1.0, std::abs(x) / tau);
        return total;
    };
    double low = 1e-9, high = 1e9;
    for (int i = 0; i < 300; ++i) {
        const double middle = std::sqrt(low * high);
        (sum(middle) > n ? low : high) = middle;
    }
    std::vector<double> result;
    for (const double x : group) result.push_back(std::min(1.0, std::abs(x) / low));
    return result;
}

/// The outcome is constant between the points where a cumulated probability crosses an integer plus the
/// uniform number: every outcome is visited once, with its exact probability.
void check_unbiased(const std::vector<double>& group, size_t n) {
    const std::vector<double> probability = expected_probabilities(group, static_cast<double>(n));
    std::set<double> cuts{0.0, 1.0};
    double cumulated = 0;
    for (const double p : probability) {
        cumulated += p;
        cuts.insert(cumulated - std::floor(cumulated));
    }
    std::vector<double> mean(group.size(), 0), often(group.size(), 0);
    std::vector<uint8_t> kept(n);
    std::vector<double> values(n);
    for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
        const double length = *std::next(cut) - *cut;
        if (length < 1e-12) continue;
        select_mvue(group, *cut + 0.5 * length, kept, values);
        for (size_t i = 0; i < n; ++i) {
            if (i > 0) {
                EXPECT_LT(kept[i - 1], kept[i]);
            }
            mean[kept[i]] += length * values[i];
            often[kept[i]] += length;
        }
    }
    for (size_t i = 0; i < group.size(); ++i) {
        EXPECT_NEAR(mean[i], group[i], 1e-9 * (1 + std::abs(group[i])));
        if (group[i] == 0.0) continue;
        EXPECT_NEAR(often[i], probability[i], 1e-9);  // minimum variance
    }
}

TEST(SelectMvue, IsUnbiasedByEnumeration) {
    check_unbiased({1, 4, 5, 8}, 2);
    check_unbiased({1, -1, 1, 100}, 2);
    check_unbiased({0, 0, 3, -4}, 1);
    check_unbiased({0.25, 0, -7, 2, 2, 0, 5, 1e-3}, 3);
    Random random(7);
    for (int m = 2; m <= Pattern::max_m; ++m) {
        for (int n = 1; n < m; ++n) {
            std::vector<double> group;
            for (int i = 0; i < m; ++i) group.push_back(std::exp(2.0 * random.normal()) * random.normal());
            check_unbiased(group, static_cast<size_t>(n));
        }
    }
}

TEST(SelectMvue, MatchesTheExact2To4Rule) {
    // S = 18, no element above S / 2: every kept value is S / 2.
    std::vector<uint8_t> kept(2);
    std::vector<double> values(2);
    for (double u = 0.01; u < 1; u += 0.07) {
        select_mvue(std::vector<double>{1, -4, 5, 8}, u, kept, values);
        for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(std::abs(values[i]), 9, 1e-12);
        // 20 of 26 is above the half: kept as it is, the other takes the rest's sum.
        select_mvue(std::vector<double>{1, 2, 20, 3}, u, kept, values);
        for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(values[i], kept[i] == 2 ? 20 : 6, 1e-12);
    }
}

TEST(SelectMvue, KeepsFewNonZerosAsTheyAre) {
    std::vector<uint8_t> kept(2);
    std::vector<double> values(2);
    select_mvue(std::vector<double>{0, 0, -3, 0}, 0.9, kept, values);
    EXPECT_EQ(kept, (std::vector<uint8_t>{0, 2}));
    EXPECT_EQ(values, (std::vector<double>{0, -3}));
}

TEST(MagnitudeMask, GroupsRunAlongTheirAxisAtAFixedKernelPosition) {
    const Shape shape{4, 8, 3, 2};
    std::vector<float> weights(static_cast<size_t>(shape.elements()));
    Random random(3);
    for (float& w : weights) w = random.normal();
    std::vector<uint8_t> mask(weights.size());
    for (const GroupAxis axis : {GroupAxis::input_channels, GroupAxis::output_channels}) {
        magnitude_mask(shape, axis, {1, 4}, weights, mask);
        const bool inputs = axis == GroupAxis::input_channels;
        for (int tap = 0; tap < 6; ++tap) {
            for (int line = 0; line < (inputs ? 4 : 8); ++line) {
                for (int begin = 0; begin < (inputs ? 8 : 4); begin += 4) {
                    int best = -1, count = 0;
                    const auto at = [&](int i) {
                        const int k = inputs ? line : i, c = inputs ? i : line;
                        return static_cast<size_t>((k * 8 + c) * 6 + tap);
                    };
                    for (int i = begin; i < begin + 4; ++i) {
                        count += mask[at(i)];
                        if (best < 0 || std::abs(weights[at(i)]) > std::abs(weights[at(best)])) best = i;
                    }
                    EXPECT_EQ(count, 1);
                    EXPECT_EQ(mask[at(best)], 1);
                }
            }
        }
    }
}

TEST(GroupLines, CoverEveryElementOnce) {
    for (const GroupAxis axis : {GroupAxis::input_channels, GroupAxis::output_channels,
                                 GroupAxis::gradient_channels, GroupAxis::positions}) {
        for (const Shape& shape : {Shape{3, 5}, Shape{3, 4, 2, 5}}) {
            const GroupLines lines = group_lines(shape, axis);
            std::set<int64_t> seen;
            for (int64_t line = 0; line < lines.lines; ++line) {
                for (int64_t i = 0; i < lines.length; ++i) seen.insert(lines.offset(line, i));
            }
            EXPECT_EQ(lines.lines * lines.length, shape.elements());
            EXPECT_EQ(static_cast<int64_t>(seen.size()), shape.elements());
            EXPECT_EQ(*seen.rbegin(), shape.elements() - 1);
        }
    }
    // NKHW: position (n, h, w) runs over pixels first, then images.
    const GroupLines positions = group_lines({3, 4, 2, 5}, GroupAxis::positions);
    EXPECT_EQ(positions.offset(1, 0), 10);
    EXPECT_EQ(positions.offset(1, 9), 19);
    EXPECT_EQ(positions.offset(1, 10), 50);
}

double kept_magnitude(const std::vector<float>& weights, const std::vector<uint8_t>& mask) {
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) sum += mask[i] != 0 ? std::abs(weights[i]) : 0.0F;
    return sum;
}

TEST(TransposableMask, IsTheBestOfAllNinety) {
    std::vector<int> rows;
    for (int bits = 0; bits < 16; ++bits) {
        if (std::popcount(static_cast<unsigned>(bits)) == 2) rows.push_back(bits);
    }
    std::vector<std::vector<uint8_t>> masks;
    for (const int a : rows) {
        for (const int b : rows) {
            for (const int c : rows) {
                for (const int d : rows) {
                    std::vector<uint8_t> mask(16);
                    std::array<int, 4> columns{};
                    const std::array picked{a, b, c, d};
                    for (size_t i = 0; i < 16; ++i) {
                        mask[i] = static_cast<uint8_t>(picked[i / 4] >> (i % 4) & 1);
                        columns[i % 4] += mask[i];
                    }
                    if (columns == std::array{2, 2, 2, 2}) masks.push_back(mask);
                }
            }
        }
    }
    ASSERT_EQ(masks.size(), 90U);
    Random random(11);
    for (int trial = 0; trial < 50; ++trial) {
        std::vector<float> weights(16);
        for (float& w : weights) w = trial % 2 == 0 ? random.normal() : static_cast<float>(random.below(4));
        double best = 0;
        for (const auto& mask : masks) best = std::max(best, kept_magnitude(weights, mask));
        std::vector<uint8_t> mask(16);
        transposable_mask({4, 4}, {2, 4}, weights, mask);
        EXPECT_NE(std::find(masks.begin(), masks.end(), mask), masks.end());
        EXPECT_NEAR(kept_magnitude(weights, mask), best, 1e-6 * best);
    }
}

TEST(TransposableMask, HoldsAlongBothAxesForEveryPattern) {
    Random random(5);
    for (const Pattern pattern :
         {Pattern{1, 2}, Pattern{2, 8}, Pattern{3, 5}, Pattern{15, 16}, Pattern{1, 16}}) {
        const int64_t m = pattern.m, k = 2 * m, c = m, taps = 2;
        std::vector<float> weights(static_cast<size_t>(k * c * taps));
        for (float& w : weights) w = random.normal();
        std::vector<uint8_t> mask(weights.size());
        transposable_mask({k, c, taps, 1}, pattern, weights, mask);
        for (int64_t tap = 0; tap < taps; ++tap) {
            for (int64_t i = 0; i < k; ++i) {
                int row = 0;
                for (int64_t j = 0; j < c; ++j) row += mask[static_cast<size_t>((i * c + j) * taps + tap)];
                EXPECT_EQ(row, pattern.n);
            }
            for (int64_t j = 0; j < c; ++j) {
                for (int64_t begin = 0; begin < k; begin += m) {
                    int column = 0;
                    for (int64_t i = begin; i < begin + m; ++i)
                        column += mask[static_cast<size_t>((i * c + j) * taps + tap)];
                    EXPECT_EQ(column, pattern.n);
                }
            }
        }
    }
}

}  // namespace
}  // namespace enmesh
