#include "enmesh/products/packed.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"
#include "products/random_problem.hpp"

namespace enmesh::products {
namespace {

// The definition, one group at a time.
std::vector<int> kept_of(const std::vector<float>& group, int n) {
    std::vector<int> order(group.size());
    std::iota(order.begin(), order.end(), 0);
    const auto key = [&](int i) {
        return std::isnan(group[i]) ? std::numeric_limits<float>::infinity() : std::abs(group[i]);
    };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return key(a) > key(b); });
    order.resize(n);
    std::sort(order.begin(), order.end());
    return order;
}

TEST(Select, KeepsTheLargestOfEveryGroupInEveryLane) {
    Random random(1);
    for (const MicroKernels* micro : {&micro_portable, &micro_wide, &micro_kernels(isa())}) {
        for (int m = 2; m <= 16; ++m) {
            for (int n = 1; n < m; ++n) {
                std::vector<float> in(m * micro->lanes), values(in.size());
                std::vector<int32_t> indices(in.size());
                for (float& value : in) value = static_cast<float>(random.below(7)) - 3.0F;  // many ties
                in[random.below(in.size())] = std::numeric_limits<float>::quiet_NaN();
                micro->select(in.data(), m, n, values.data(), indices.data());
                for (int lane = 0; lane < micro->lanes; ++lane) {
                    std::vector<float> group(m);
                    for (int i = 0; i < m; ++i) group[i] = in[i * micro->lanes + lane];
                    const std::vector<int> want = kept_of(group, n);
                    for (int slot = 0; slot < n; ++slot) {
                        ASSERT_EQ(indices[slot * micro->lanes + lane], want[slot])
                            << micro->name << n << ':' << m;
                        const float value = values[slot * micro->lanes + lane], original = group[want[slot]];
                        ASSERT_TRUE(value == original || (std::isnan(value) && std::isnan(original)));
                    }
                }
            }
        }
    }
}

TEST(PackWeights, GroupsLieAlongEachProductsReduction) {
    Random random(2);
    for (int round = 0; round < 60; ++round) {
        Conv conv = random_conv(random);
        // Linear layers have groups that lie one behind the other, many of them.
        if (round % 3 == 0)
            conv = linear(1, 1 + static_cast<int64_t>(random.below(600)),
                          1 + static_cast<int64_t>(random.below(40)));
        const int m = round % 2 == 0 ? static_cast<int>(pick(random, {2, 4, 8, 16}))
                                     : 2 + static_cast<int>(random.below(15));
        const int n = 1 + static_cast<int>(random.below(m - 1));
        const std::vector<float> weights = random_floats(conv.weights_size(), random);
        for (const Stage stage : {Stage::ff, Stage::bp}) {
            const Packed packed = pack_weights(conv, stage, {n, m}, weights);
            std::vector<float> got(weights.size(), 7.0F), want = weights;
            unpack_weights(conv, stage, packed, got);
            const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups, taps = conv.taps();
            const int64_t length = stage == Stage::ff ? c : k;
            const int64_t others = conv.weights_size() / length;
            for (int64_t other = 0; other < others; ++other) {
                // The vector's start and step along the reduction.
                const int64_t tap = other % taps, rest = other / taps;
                const int64_t start = stage == Stage::ff ? rest * c * taps + tap
                                                         : rest / c * k * c * taps + rest % c * taps + tap;
                const int64_t step = stage == Stage::ff ? taps : c * taps;
                for (int64_t group = 0; group + m <= length; group += m) {
                    std::vector<float> values(m);
                    for (int i = 0; i < m; ++i) values[i] = weights[start + (group + i) * step];
                    const std::vector<int> kept = kept_of(values, n);
                    for (int i = 0; i < m; ++i) {
                        if (!std::binary_search(kept.begin(), kept.end(), i))
                            want[start + (group + i) * step] = 0;
                    }
                }
            }
            ASSERT_EQ(got, want) << to_string(conv) << ' ' << n << ':' << m << ' ' << to_string(stage);
        }
    }
}

TEST(PackWeights, FromAMask) {
    const Conv conv{.c = 8, .k = 2};
    const std::vector<float> weights = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    const std::vector<uint8_t> mask = {1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0};
    Packed packed(weights_shape(conv, Stage::ff, {2, 4}));
    pack_weights_masked(conv, Stage::ff, weights, mask, packed.span());
    std::vector<float> got(16);
    unpack_weights(conv, Stage::ff, packed, got);
    EXPECT_EQ(got, (std::vector<float>{1, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0, 13, 14, 0, 0}));
    const PackedView view = packed.view();
    for (size_t i = 0; i < view.indices.size(); i += 2) EXPECT_LT(view.indices[i], view.indices[i + 1]);

    const std::vector<uint8_t> crowded(16, 1);
    EXPECT_THROW(pack_weights_masked(conv, Stage::ff, weights, crowded, packed.span()), Error);
}

// More vectors than one thread takes alone, the same from any number of threads, errors included.
TEST(PackWeights, FromAMaskOnSeveralThreads) {
    const Conv conv{.c = 19, .k = 41, .r = 3, .s = 3};
    Random random(5);
    const std::vector<float> weights = random_floats(conv.weights_size(), random);
    const int before = threads();
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        const Packed by_magnitude = pack_weights(conv, stage, {2, 4}, weights);
        std::vector<float> kept(weights.size());
        unpack_weights(conv, stage, by_magnitude, kept);
        std::vector<uint8_t> mask(weights.size());
        for (size_t i = 0; i < mask.size(); ++i) mask[i] = kept[i] != 0.0F ? 1 : 0;
        std::vector<uint8_t> crowded = mask;
        std::fill(crowded.end() - 2000, crowded.end(), uint8_t{1});
        std::string message;
        for (const int count : {1, 2, 5}) {
            set_threads(count);
            Packed packed(by_magnitude.shape());
            pack_weights_masked(conv, stage, weights, mask, packed.span());
            EXPECT_TRUE(std::ranges::equal(packed.view().values, by_magnitude.view().values));
            EXPECT_TRUE(std::ranges::equal(packed.view().indices, by_magnitude.view().indices));
            EXPECT_TRUE(std::ranges::equal(packed.view().tail, by_magnitude.view().tail));
            try {
                pack_weights_masked(conv, stage, weights, crowded, packed.span());
                ADD_FAILURE() << "a crowded mask was taken";
            } catch (const Error& error) {
                if (message.empty()) message = error.what();
                EXPECT_EQ(message, error.what());
            }
        }
    }
    set_threads(before);
}

TEST(PackWeights, RefusesWhatDoesNotFit) {
    const Conv conv{.c = 8, .k = 2};
    const std::vector<float> weights(16);
    Packed packed(weights_shape(conv, Stage::bp, {1, 2}));
    EXPECT_THROW(pack_weights(conv, Stage::ff, weights, packed.span()), Error);
    EXPECT_THROW(weights_shape(conv, Stage::ff, {4, 4}), Error);
    EXPECT_THROW(weights_shape(conv, Stage::ff, {1, 17}), Error);
}

}  // namespace
}  // namespace enmesh::products
