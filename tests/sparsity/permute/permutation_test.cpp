#include "enmesh/sparsity/permutation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <tuple>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

/// Gaussian weights whose channels differ in scale by e^(spread * normal), as those of trained networks do.
MagnitudeColumns random_magnitudes(int64_t rows, int64_t columns, float spread, uint64_t seed) {
    MagnitudeColumns magnitudes(rows, columns);
    Random random(seed);
    for (int64_t c = 0; c < columns; ++c) {
        const float scale = std::exp(spread * random.normal());
        for (float& value : magnitudes.column(c)) value = std::abs(random.normal() * scale);
    }
    return magnitudes;
}

double kept_of_group(const MagnitudeColumns& magnitudes, const int64_t* members, Pattern pattern) {
    double kept = 0;
    for (int64_t row = 0; row < magnitudes.rows(); ++row) {
        float values[Pattern::max_m];
        for (int i = 0; i < pattern.m; ++i) values[i] = magnitudes.column(members[i])[row];
        if (pattern == Pattern{2, 4}) {
            kept += static_cast<double>(
                std::max({values[0] + values[1], values[2] + values[3],
                          std::max(values[0], values[1]) + std::max(values[2], values[3])}));
            continue;
        }
        std::partial_sort(values, values + pattern.n, values + pattern.m, std::greater<>());
        for (int i = 0; i < pattern.n; ++i) kept += static_cast<double>(values[i]);
    }
    return kept;
}

double naive_kept(const MagnitudeColumns& magnitudes, Pattern pattern,
                  const std::vector<int64_t>& permutation) {
    double kept = 0;
    for (size_t i = 0; i < permutation.size(); i += static_cast<size_t>(pattern.m)) {
        kept += kept_of_group(magnitudes, &permutation[i], pattern);
    }
    return kept;
}

/// Every way of dealing the remaining channels into groups, the lowest first.
double best_by_enumeration(const MagnitudeColumns& magnitudes, Pattern pattern, std::vector<int64_t> left) {
    if (left.empty()) return 0;
    double best = 0;
    std::vector<char> picked(left.size() - 1);
    std::fill(picked.begin(), picked.begin() + pattern.m - 1, 1);
    do {
        std::vector<int64_t> group{left[0]}, rest;
        for (size_t i = 1; i < left.size(); ++i) (picked[i - 1] != 0 ? group : rest).push_back(left[i]);
        best = std::max(best, kept_of_group(magnitudes, group.data(), pattern) +
                                  best_by_enumeration(magnitudes, pattern, rest));
    } while (std::prev_permutation(picked.begin(), picked.end()));
    return best;
}

void expect_sound(const MagnitudeColumns& magnitudes, Pattern pattern, const PermutationResult& result) {
    std::vector<int64_t> sorted = result.permutation, identity(sorted.size());
    std::sort(sorted.begin(), sorted.end());
    std::iota(identity.begin(), identity.end(), int64_t{0});
    ASSERT_EQ(sorted, identity);
    const double tolerance = 1e-7 * (result.magnitude + 1);
    EXPECT_NEAR(result.kept, naive_kept(magnitudes, pattern, result.permutation), tolerance);
    EXPECT_NEAR(result.kept_plain, naive_kept(magnitudes, pattern, identity), tolerance);
    EXPECT_GE(result.kept, result.kept_plain);
    EXPECT_LE(result.kept, result.magnitude + tolerance);
}

TEST(Permutation, IsExactUpToSixteenChannels) {
    const std::tuple<Pattern, int64_t> cases[] = {{{2, 4}, 8}, {{2, 4}, 12}, {{1, 2}, 8},
                                                  {{1, 3}, 9}, {{3, 4}, 8},  {{1, 4}, 4},
                                                  {{2, 8}, 8}, {{4, 8}, 16}, {{2, 5}, 10}};
    for (const auto& [pattern, columns] : cases) {
        const MagnitudeColumns magnitudes = random_magnitudes(7, columns, 0.5F, 5);
        const PermutationResult result = search_permutation(magnitudes, pattern);
        expect_sound(magnitudes, pattern, result);
        EXPECT_TRUE(result.exact);
        std::vector<int64_t> identity(static_cast<size_t>(columns));
        std::iota(identity.begin(), identity.end(), int64_t{0});
        EXPECT_NEAR(result.kept, best_by_enumeration(magnitudes, pattern, identity), 1e-7 * result.magnitude)
            << to_string(pattern);
    }
}

TEST(Permutation, SixteenChannelsInGroupsOfFour) {
    const MagnitudeColumns magnitudes = random_magnitudes(33, 16, 0.7F, 6);
    const PermutationResult result = search_permutation(magnitudes, {2, 4});
    expect_sound(magnitudes, {2, 4}, result);
    EXPECT_TRUE(result.exact);
    // Against random restarts of a naive hill climb: none may find more.
    Random random(1);
    std::vector<int64_t> order(16);
    std::iota(order.begin(), order.end(), int64_t{0});
    for (int restart = 0; restart < 5; ++restart) {
        for (size_t i = 15; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
        double kept = naive_kept(magnitudes, {2, 4}, order);
        for (int i = 0; i < 400; ++i) {
            const size_t a = random.below(16), b = random.below(16);
            std::swap(order[a], order[b]);
            const double now = naive_kept(magnitudes, {2, 4}, order);
            if (now < kept) std::swap(order[a], order[b]);
            kept = std::max(kept, now);
        }
        EXPECT_LE(kept, result.kept + 1e-7 * result.magnitude);
    }
}

TEST(Permutation, FindsAPlantedArrangement) {
    // Half of the channels are zero, but they stand together: a good arrangement loses nothing.
    constexpr int64_t columns = 32;
    MagnitudeColumns magnitudes = random_magnitudes(20, columns, 0, 7);
    for (int64_t c = 0; c < columns / 2; ++c) std::ranges::fill(magnitudes.column(c), 0.0F);
    for (const Pattern pattern : {Pattern{2, 4}, Pattern{8, 16}}) {
        const PermutationResult result = search_permutation(magnitudes, pattern);
        expect_sound(magnitudes, pattern, result);
        EXPECT_NEAR(result.kept, result.magnitude, 1e-6 * result.magnitude) << to_string(pattern);
        EXPECT_LT(result.kept_plain, 0.9 * result.magnitude);
    }
}

/// The published search, plainly: all pairs of stripes, best of the 35 partitions of each, applied greedily;
/// when nothing gains, a random pair's best partition with one more random swap, `escapes` times. Returns the
/// best that it passed.
double stripe_groups(const MagnitudeColumns& magnitudes, int escapes, uint64_t seed) {
    const Pattern pattern{2, 4};
    const int64_t stripes = magnitudes.columns() / 4;
    struct Found {
        double gain = 0;
        std::array<int, 8> order{};
    };
    std::vector<std::array<int, 8>> partitions;
    for (unsigned mask = 0; mask < 256; ++mask) {
        if (std::popcount(mask) != 4 || (mask & 1) == 0) continue;
        std::array<int, 8> order{};
        int in = 0, out = 4;
        for (int i = 0; i < 8; ++i) order[(mask >> i & 1) != 0 ? in++ : out++] = i;
        partitions.push_back(order);
    }
    std::vector<int64_t> permutation(static_cast<size_t>(magnitudes.columns()));
    std::iota(permutation.begin(), permutation.end(), int64_t{0});
    const auto member = [&](int64_t i, int64_t j, int k) -> int64_t& {
        return permutation[static_cast<size_t>(k < 4 ? 4 * i + k : 4 * j + k - 4)];
    };
    std::vector<Found> found(static_cast<size_t>(stripes * stripes));
    std::vector<char> changed(static_cast<size_t>(stripes), 1);
    const auto evaluate = [&](int64_t i, int64_t j) {
        Found best{-1e30, {}};
        double before = 0;
        for (size_t p = 0; p < partitions.size(); ++p) {
            int64_t members[8];
            for (int k = 0; k < 8; ++k) members[k] = member(i, j, partitions[p][k]);
            const double kept =
                kept_of_group(magnitudes, members, pattern) + kept_of_group(magnitudes, members + 4, pattern);
            if (partitions[p][3] == 3) before = kept;
            if (partitions[p][3] != 3 && kept > best.gain) best = {kept, partitions[p]};
        }
        best.gain -= before;
        found[static_cast<size_t>(i * stripes + j)] = best;
    };
    const auto apply = [&](int64_t i, int64_t j, const std::array<int, 8>& order) {
        int64_t members[8];
        for (int k = 0; k < 8; ++k) members[k] = member(i, j, order[k]);
        for (int k = 0; k < 8; ++k) member(i, j, k) = members[k];
        changed[i] = changed[j] = 1;
    };
    Random random(seed);
    double best = 0;
    while (true) {
        std::vector<std::pair<int64_t, int64_t>> pairs;
        for (int64_t i = 0; i < stripes; ++i) {
            for (int64_t j = i + 1; j < stripes; ++j) {
                if (changed[i] != 0 || changed[j] != 0) evaluate(i, j);
                pairs.emplace_back(i, j);
            }
        }
        const auto gain = [&](const auto& pair) { return found[pair.first * stripes + pair.second].gain; };
        std::ranges::stable_sort(pairs, std::greater<>(), gain);
        std::ranges::fill(changed, 0);
        bool any = false;
        for (const auto& [i, j] : pairs) {
            if (changed[i] != 0 || changed[j] != 0 || found[i * stripes + j].gain < 3e-4) continue;
            apply(i, j, found[i * stripes + j].order);
            any = true;
        }
        if (any) continue;
        best = std::max(best, naive_kept(magnitudes, pattern, permutation));
        if (escapes-- <= 0) return best;
        const auto [i, j] = pairs[random.below(pairs.size())];
        std::array<int, 8> order = found[i * stripes + j].order;
        std::swap(order[random.below(4)], order[4 + random.below(4)]);
        apply(i, j, order);
    }
}

TEST(Permutation, ReachesAThousandEscapesOfTheStripeGroupSearch) {
    for (const auto& [columns, spread] : {std::pair{24, 0.0F}, std::pair{32, 0.7F}}) {
        const MagnitudeColumns magnitudes = random_magnitudes(32, columns, spread, 8);
        const double reference = stripe_groups(magnitudes, 1000, 3);
        const PermutationResult result = search_permutation(magnitudes, {2, 4});
        expect_sound(magnitudes, {2, 4}, result);
        EXPECT_GE(result.kept, reference * (1 - 1e-7)) << columns << " channels, plain " << result.kept_plain;
        // The same search with our kernels: the same steps but where rounding decides.
        const PermutationResult stripes = search_permutation(
            magnitudes, {2, 4}, {.seed = 3, .search = PermutationSearch::stripes, .escapes = 1000});
        expect_sound(magnitudes, {2, 4}, stripes);
        EXPECT_NEAR(stripes.kept, reference, 1e-3 * reference);
    }
}

TEST(Permutation, StripeGroupsGainWithEveryPatternTheyTake) {
    for (const Pattern pattern : {Pattern{1, 2}, Pattern{2, 3}, Pattern{1, 4}}) {
        const MagnitudeColumns magnitudes = random_magnitudes(20, 48, 0.5F, 9);
        const PermutationOptions options{.search = PermutationSearch::stripes, .escapes = 20};
        const PermutationResult result = search_permutation(magnitudes, pattern, options);
        expect_sound(magnitudes, pattern, result);
        EXPECT_GT(result.kept, result.kept_plain) << to_string(pattern);
        EXPECT_EQ(search_permutation(magnitudes, pattern, options).permutation, result.permutation);
    }
    EXPECT_THROW(
        search_permutation(random_magnitudes(4, 48, 0.5F, 9), {2, 8}, {.search = PermutationSearch::stripes}),
        Error);
}

TEST(Permutation, EveryPatternGains) {
    for (const Pattern pattern : {Pattern{1, 3}, Pattern{2, 8}, Pattern{15, 16}}) {
        const MagnitudeColumns magnitudes = random_magnitudes(20, 48, 0.5F, 9);
        const PermutationResult result = search_permutation(magnitudes, pattern);
        expect_sound(magnitudes, pattern, result);
        EXPECT_GT(result.kept, result.kept_plain) << to_string(pattern);
    }
}

TEST(Permutation, SameBitsForTheSameSeedAndAnyThreads) {
    const MagnitudeColumns magnitudes = random_magnitudes(40, 48, 0.5F, 10);
    const int threads_before = threads();
    std::vector<std::vector<int64_t>> found;
    for (const int count : {1, 2}) {
        set_threads(count);
        found.push_back(search_permutation(magnitudes, {2, 4}, {.seed = 4}).permutation);
    }
    set_threads(threads_before);
    for (const auto& permutation : found) EXPECT_EQ(permutation, found[0]);
    EXPECT_NE(search_permutation(magnitudes, {2, 4}, {.seed = 5}).permutation, found[0]);
}

TEST(Permutation, KeepsToItsTimeLimit) {
    for (const int64_t columns : {16, 128}) {
        const MagnitudeColumns magnitudes = random_magnitudes(64, columns, 0.5F, 11);
        const PermutationResult result = search_permutation(magnitudes, {2, 4}, {.time_limit_seconds = 0});
        expect_sound(magnitudes, {2, 4}, result);
        EXPECT_TRUE(result.timed_out);
        EXPECT_FALSE(result.exact);
    }
}

TEST(Permutation, WideMatricesAreSearchedInBlocks) {
    const MagnitudeColumns magnitudes = random_magnitudes(3, 2052, 0.7F, 12);
    const PermutationResult result = search_permutation(magnitudes, {2, 4}, {.time_limit_seconds = 0.5});
    expect_sound(magnitudes, {2, 4}, result);
    EXPECT_GT(result.kept, result.kept_plain);
}

TEST(Permutation, DegenerateMatrices) {
    const MagnitudeColumns zeros(5, 32);
    expect_sound(zeros, {2, 4}, search_permutation(zeros, {2, 4}));
    MagnitudeColumns equal(5, 32);
    for (int64_t c = 0; c < 32; ++c) std::ranges::fill(equal.column(c), 1.0F);
    const PermutationResult result = search_permutation(equal, {2, 4});
    expect_sound(equal, {2, 4}, result);
    EXPECT_EQ(result.permutation[31], 31);
    const MagnitudeColumns one_row = random_magnitudes(1, 20, 0, 13);
    expect_sound(one_row, {2, 4}, search_permutation(one_row, {2, 4}));
    EXPECT_THROW(search_permutation(MagnitudeColumns(5, 30), {2, 4}), Error);
    EXPECT_THROW(search_permutation(MagnitudeColumns(5, 0), {2, 4}), Error);
}

TEST(Permutation, MagnitudesAreGatheredByChannel) {
    const std::vector<float> weights{1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12};  // [2][3][2]
    MagnitudeColumns magnitudes(5, 3);
    add_magnitudes(magnitudes, 1, weights, 2, 3, 2);
    EXPECT_EQ(std::vector<float>(magnitudes.column(1).begin(), magnitudes.column(1).end()),
              (std::vector<float>{0, 3, 4, 9, 10}));
    EXPECT_DOUBLE_EQ(unstructured_magnitude(magnitudes, 1), 5 + 6 + 11 + 12);
}

}  // namespace
}  // namespace enmesh
