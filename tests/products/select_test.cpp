#include "enmesh/products/select.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"
#include "products/random_problem.hpp"

namespace enmesh::products {
namespace {

std::vector<float> awkward_group(Random& random, int m) {
    std::vector<float> group = random_floats(m, random);
    switch (random.below(5)) {
        case 0:
            group[random.below(m)] *= 100.0F;
            break;  // one certain element
        case 1:
            std::fill(group.begin(), group.end(), -0.5F);
            break;
        case 2:
            for (float& value : group) value = random.below(2) == 0 ? 0.0F : value;
            break;
        case 3:
            std::fill(group.begin() + 1, group.end(), 0.0F);
            break;
        default:
            break;
    }
    return group;
}

// Unbiasedness by enumeration: the outcomes' intervals of the uniform have lengths that are their
// probabilities.
TEST(Mvue, EveryOutcomeEnumeratedGivesTheGroupItself) {
    Random random(30);
    for (int m = 2; m <= 16; ++m) {
        for (int n = 1; n < m; ++n) {
            for (int round = 0; round < 20; ++round) {
                const std::vector<float> group = awkward_group(random, m);
                std::vector<double> mean(m);
                double total = 0;
                for (const MvueOutcome& outcome : mvue_outcomes(group, n)) {
                    total += outcome.probability;
                    for (int slot = 0; slot < n; ++slot) {
                        if (slot > 0) {
                            ASSERT_LT(outcome.indices[slot - 1], outcome.indices[slot]);
                        }
                        mean[outcome.indices[slot]] += outcome.probability * outcome.values[slot];
                    }
                }
                ASSERT_NEAR(total, 1.0, 1e-12);
                const double scale = *std::max_element(
                    group.begin(), group.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
                for (int i = 0; i < m; ++i) {
                    ASSERT_NEAR(mean[i], group[i], 2e-7 * std::abs(scale) * m)
                        << n << ':' << m << " element " << i;
                }
            }
        }
    }
}

// No estimate with at most n non-zeros has a smaller second moment: with q certain elements it is their
// squares plus (sum of the others)^2 / (n - q).
TEST(Mvue, SecondMomentIsTheMinimum) {
    Random random(31);
    for (int round = 0; round < 200; ++round) {
        const int m = 2 + static_cast<int>(random.below(15)), n = 1 + static_cast<int>(random.below(m - 1));
        const std::vector<float> group = random_floats(m, random);
        std::vector<double> sorted(group.begin(), group.end());
        for (double& value : sorted) value = std::abs(value);
        std::sort(sorted.rbegin(), sorted.rend());
        double best = 1e300, certain = 0, rest = std::accumulate(sorted.begin(), sorted.end(), 0.0);
        for (int q = 0; q < n; ++q) {
            const double tau = rest / (n - q);
            if (sorted[q] <= tau * (1 + 1e-12)) best = std::min(best, certain + rest * rest / (n - q));
            certain += sorted[q] * sorted[q];
            rest -= sorted[q];
        }
        double moment = 0;
        for (const MvueOutcome& outcome : mvue_outcomes(group, n)) {
            for (const float value : outcome.values) moment += outcome.probability * value * value;
        }
        ASSERT_NEAR(moment, best, 1e-5 * best);
    }
}

TEST(Mvue, TwoOfFourAgreesWithTheClosedForm) {
    // No element above half the sum: every kept value is half the sum.
    for (const MvueOutcome& outcome : mvue_outcomes(std::vector<float>{1, -2, 3, 4}, 2)) {
        for (const float value : outcome.values) EXPECT_FLOAT_EQ(std::abs(value), 5.0F);
    }
    // One above: it is certain and exact, the other takes the rest.
    for (const MvueOutcome& outcome : mvue_outcomes(std::vector<float>{1, 20, -3, 4}, 2)) {
        double sum = 0;
        for (const float value : outcome.values) sum += std::abs(value);
        EXPECT_FLOAT_EQ(static_cast<float>(sum), 28.0F);
    }
}

TEST(Mvue, DrawsAreThoseOfTheEnumeration) {
    const std::vector<float> group = {0.5F, -1, 2, 0, 3, 0.25F, -0.125F, 1};
    const std::vector<MvueOutcome> outcomes = mvue_outcomes(group, 2);
    double start = 0;
    for (const MvueOutcome& outcome : outcomes) {
        for (const double inside : {0.01, 0.5, 0.99}) {
            std::vector<float> values(2);
            std::vector<uint8_t> indices(2);
            select_mvue(group, 2, start + inside * outcome.probability, values, indices);
            EXPECT_EQ(values, outcome.values);
            EXPECT_EQ(indices, outcome.indices);
        }
        start += outcome.probability;
    }
}

// The vector form draws in float32 what the scalar form draws in double; at a cut between outcomes either is
// right.
TEST(Mvue, LanesDrawWhatTheScalarFormDraws) {
    Random random(35);
    for (const MicroKernels* micro : {&micro_portable, &micro_wide, &micro_kernels(isa())}) {
        const int lanes = micro->lanes;
        for (int round = 0; round < 300; ++round) {
            const int m = 2 + static_cast<int>(random.below(15)),
                      n = 1 + static_cast<int>(random.below(m - 1));
            std::vector<float> in(m * lanes), uniforms(lanes), values(n * lanes);
            std::vector<int32_t> indices(n * lanes);
            for (float& uniform : uniforms) uniform = random.uniform();
            for (int lane = 0; lane < lanes; ++lane) {
                const std::vector<float> group = awkward_group(random, m);
                for (int i = 0; i < m; ++i) in[i * lanes + lane] = group[i];
            }
            ASSERT_TRUE(micro->mvue(in.data(), m, n, uniforms.data(), values.data(), indices.data()));
            for (int lane = 0; lane < lanes; ++lane) {
                std::vector<float> group(m), want(n);
                std::vector<uint8_t> want_indices(n);
                for (int i = 0; i < m; ++i) group[i] = in[i * lanes + lane];
                bool agrees = false;
                for (const double nudge : {0.0, -2e-5, 2e-5}) {
                    const double uniform = std::clamp(uniforms[lane] + nudge, 0.0, 1.0 - 1e-9);
                    select_mvue(group, n, uniform, want, want_indices);
                    bool same = true;
                    for (int slot = 0; slot < n; ++slot) {
                        same = same && indices[slot * lanes + lane] == want_indices[slot] &&
                               std::abs(values[slot * lanes + lane] - want[slot]) <=
                                   1e-5F * std::abs(want[slot]);
                    }
                    agrees = agrees || same;
                }
                ASSERT_TRUE(agrees) << micro->name << ' ' << n << ':' << m << " uniform " << uniforms[lane];
            }
        }
    }
}

TEST(Mvue, LanesReportWhatIsNotFinite) {
    std::vector<float> in(4 * micro_portable.lanes, 1.0F), uniforms(micro_portable.lanes), values(in.size());
    std::vector<int32_t> indices(in.size());
    EXPECT_TRUE(micro_portable.mvue(in.data(), 4, 2, uniforms.data(), values.data(), indices.data()));
    in[5] = std::nanf("");
    EXPECT_FALSE(micro_portable.mvue(in.data(), 4, 2, uniforms.data(), values.data(), indices.data()));
}

TEST(PackDiffDst, LanesAndSingleGroupsAgree) {
    Random random(36);
    const Conv conv{.n = 16, .c = 3, .h = 4, .w = 2, .k = 6};
    std::vector<float> nchw = random_floats(conv.dst_size(), random), blocked(nchw.size());
    nchw[37] = std::nanf("");
    reblock(nchw.data(), 1, blocked.data(), 16, conv.n, conv.k, 8);
    for (const Stage stage : {Stage::bp, Stage::wg}) {
        for (const Selection how : {Selection::magnitude, Selection::mvue}) {
            const Packed one = pack_diff_dst({conv, stage, NmOperand{Operand::diff_dst, {2, 4}}, 1},
                                             {how, Random(7, 3)}, nchw.data());
            const Packed many = pack_diff_dst({conv, stage, NmOperand{Operand::diff_dst, {2, 4}}, 16},
                                              {how, Random(7, 3)}, blocked.data());
            EXPECT_TRUE(std::ranges::equal(one.view().indices, many.view().indices));
            for (size_t i = 0; i < one.view().values.size(); ++i) {
                const float a = one.view().values[i], b = many.view().values[i];
                EXPECT_TRUE(std::abs(a - b) <= 1e-6F * std::abs(a) || (std::isnan(a) && std::isnan(b)));
            }
        }
    }
}

// A matrix of rows against maps of one row in which the same numbers are pixels, which go group by group.
TEST(PackDiffDst, RowsOfMatricesAgreeWithSingleGroups) {
    Random random(37);
    for (const auto& [rows, channels] : {std::pair<int64_t, int64_t>{29, 45}, {8, 3}, {5, 70}, {64, 16}}) {
        std::vector<float> matrix = random_floats(rows * channels, random), map(matrix.size());
        matrix[matrix.size() / 2] = std::nanf("");
        for (int64_t i = 0; i < rows * channels; ++i)
            map[i % channels * rows + i / channels] = matrix[i];  // one image, pixels are rows
        const Conv one_map{.n = 1, .h = 1, .w = rows, .k = channels};
        for (const Stage stage : {Stage::bp, Stage::wg}) {
            for (const Selection how : {Selection::magnitude, Selection::mvue}) {
                const SelectOptions options{how, Random(7, 3)};
                const Problem of_matrix{linear(rows, 1, channels), stage,
                                        NmOperand{Operand::diff_dst, {2, 8}}, 1};
                const Packed lanes = pack_diff_dst(of_matrix, options, matrix.data());
                const Packed single = pack_diff_dst({one_map, stage, NmOperand{Operand::diff_dst, {2, 8}}, 1},
                                                    options, map.data());
                EXPECT_TRUE(std::ranges::equal(lanes.view().indices, single.view().indices));
                const auto near = [](float a, float b) {
                    return std::abs(a - b) <= 1e-6F * std::abs(a) || (std::isnan(a) && std::isnan(b));
                };
                EXPECT_TRUE(std::ranges::equal(lanes.view().values, single.view().values, near));
                EXPECT_TRUE(std::ranges::equal(lanes.view().tail, single.view().tail, near));

                std::vector<float> filled(matrix.size(), 7.0F), filled_map(matrix.size(), 7.0F);
                unpack_diff_dst(of_matrix, lanes, filled.data());
                unpack_diff_dst({one_map, stage, NmOperand{Operand::diff_dst, {2, 8}}, 1}, lanes,
                                filled_map.data());
                for (int64_t i = 0; i < rows * channels; ++i)
                    EXPECT_TRUE(near(filled[i], filled_map[i % channels * rows + i / channels]));
            }
        }
    }
}

TEST(Mvue, NotANumberStaysVisible) {
    std::vector<float> values(1);
    std::vector<uint8_t> indices(1);
    select_mvue(std::vector<float>{1, std::nanf(""), 100, 3}, 1, 0.3, values, indices);
    EXPECT_TRUE(std::isnan(values[0]));
    EXPECT_EQ(indices[0], 1);
}

TEST(PackDiffDst, DoesNotDependOnThreadsAndUnpacksToItsSelection) {
    Random random(32);
    const Conv conv{.n = 4, .c = 3, .h = 5, .w = 3, .k = 6, .r = 1, .s = 1};
    const std::vector<float> gradient = random_floats(conv.dst_size(), random);
    for (const Stage stage : {Stage::bp, Stage::wg}) {
        for (const Selection how : {Selection::magnitude, Selection::mvue}) {
            const Problem problem{conv, stage, NmOperand{Operand::diff_dst, {2, 4}}, 2};
            const int before = threads();
            set_threads(1);
            const Packed one = pack_diff_dst(problem, {how, Random(7, 3)}, gradient.data());
            set_threads(3);
            const Packed three = pack_diff_dst(problem, {how, Random(7, 3)}, gradient.data());
            set_threads(before);
            EXPECT_TRUE(std::ranges::equal(one.view().values, three.view().values));
            EXPECT_TRUE(std::ranges::equal(one.view().indices, three.view().indices));
            EXPECT_EQ(one.shape().tail(), stage == Stage::bp ? 2 : 0);
            if (how != Selection::magnitude) continue;
            std::vector<float> unpacked(gradient.size(), std::nanf(""));
            unpack_diff_dst(problem, one, unpacked.data());
            size_t kept = 0;
            for (size_t i = 0; i < unpacked.size(); ++i) {
                EXPECT_TRUE(unpacked[i] == gradient[i] || unpacked[i] == 0.0F);
                kept += unpacked[i] != 0.0F ? 1 : 0;
            }
            EXPECT_EQ(kept, one.view().values.size() + one.view().tail.size());
            const PackedView view = one.view();
            const int64_t area = conv.h * conv.w, groups = view.shape.groups();
            for (int64_t at = 0; at < view.shape.kept(); ++at) {
                const int64_t row = at / 2 / groups, i = at / 2 % groups * 4 + view.indices[at];
                const int64_t position = stage == Stage::bp ? row : i, channel = stage == Stage::bp ? i : row;
                EXPECT_EQ(
                    view.values[at],
                    gradient[blocked_index(position / area, channel, position % area, conv.k, area, 2)]);
            }
        }
    }
}

double kept_sum(const std::vector<float>& values, const std::vector<uint8_t>& mask) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += mask[i] != 0 ? values[i] : 0;
    return sum;
}

// Exhaustive search over row patterns, with column counts pruned.
double best_by_search(const std::vector<float>& values, int n, int m, int row, std::vector<int>& columns) {
    if (row == m) return 0;
    double best = -1e300;
    for (int pattern = 0; pattern < 1 << m; ++pattern) {
        if (__builtin_popcount(pattern) != n) continue;
        double sum = 0;
        bool fits = true;
        for (int column = 0; column < m; ++column) {
            if ((pattern >> column & 1) == 0) continue;
            sum += values[row * m + column];
            fits = fits && columns[column] < n;
        }
        if (!fits) continue;
        for (int column = 0; column < m; ++column) columns[column] += pattern >> column & 1;
        best = std::max(best, sum + best_by_search(values, n, m, row + 1, columns));
        for (int column = 0; column < m; ++column) columns[column] -= pattern >> column & 1;
    }
    return best;
}

TEST(Transposable, BlocksAreExactOptima) {
    Random random(33);
    for (const auto [n, m] : {Pattern{1, 2}, Pattern{1, 3}, Pattern{2, 3}, Pattern{1, 4}, Pattern{2, 4},
                              Pattern{3, 4}, Pattern{2, 5}}) {
        for (int round = 0; round < 10; ++round) {
            std::vector<float> values(m * m);
            for (float& value : values) value = random.uniform();
            std::vector<uint8_t> mask(m * m);
            transposable_block({n, m}, values, mask);
            for (int i = 0; i < m; ++i) {
                int in_row = 0, in_column = 0;
                for (int j = 0; j < m; ++j) in_row += mask[i * m + j], in_column += mask[j * m + i];
                ASSERT_EQ(in_row, n);
                ASSERT_EQ(in_column, n);
            }
            std::vector<int> columns(m);
            ASSERT_NEAR(kept_sum(values, mask), best_by_search(values, n, m, 0, columns), 1e-5);
        }
    }
}

TEST(Transposable, OneMaskServesForwardAndBackward) {
    Random random(34);
    for (const auto& [conv, pattern] : {std::pair{Conv{.c = 8, .k = 16, .r = 3, .s = 3}, Pattern{2, 8}},
                                        std::pair{Conv{.c = 10, .k = 7, .r = 1, .s = 2}, Pattern{2, 4}},
                                        std::pair{Conv{.c = 32, .k = 16}, Pattern{4, 16}}}) {
        const std::vector<float> weights = random_floats(conv.weights_size(), random);
        std::vector<uint8_t> mask(weights.size());
        transposable_mask(conv, pattern, weights, mask);
        for (const Stage stage : {Stage::ff, Stage::bp}) {
            Packed packed(weights_shape(conv, stage, pattern));
            pack_weights_masked(conv, stage, weights, mask, packed.span());  // refuses a group with too many
            std::vector<float> dense(weights.size());
            unpack_weights(conv, stage, packed, dense);
            for (size_t i = 0; i < dense.size(); ++i) ASSERT_EQ(dense[i], mask[i] != 0 ? weights[i] : 0.0F);
        }
    }
    std::vector<float> bad(16, std::nanf(""));
    std::vector<uint8_t> mask(16);
    EXPECT_THROW(transposable_mask(Conv{.c = 4, .k = 4}, {2, 4}, bad, mask), Error);
}

}  // namespace
}  // namespace enmesh::products
