#include "enmesh/sparsity/prune.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

std::vector<float> random_weights(int64_t count, uint64_t seed) {
    std::vector<float> weights(static_cast<size_t>(count));
    Random random(seed);
    for (float& value : weights) value = random.normal();
    return weights;
}

NamedTensor tensor_of(const std::vector<float>& weights, const Shape& shape) {
    NamedTensor tensor{{"w", "F32", shape}, Buffer(weights.size() * sizeof(float))};
    std::memcpy(tensor.data.data(), weights.data(), tensor.data.bytes());
    return tensor;
}

TEST(Prune, KeepsTheLargestAlongChannelsAtEachPosition) {
    const WeightExtents extents{3, 10, 2};
    const std::vector<float> weights = random_weights(extents.elements(), 1);
    for (const Pattern pattern : {Pattern{2, 4}, Pattern{1, 3}, Pattern{4, 5}, Pattern{2, 8}}) {
        const std::vector<uint8_t> mask = magnitude_mask(weights, extents, pattern);
        for (int64_t output = 0; output < 3; ++output) {
            for (int64_t position = 0; position < 2; ++position) {
                const auto at = [&](int64_t channel) { return (output * 10 + channel) * 2 + position; };
                for (int64_t first = 0; first + pattern.m <= 10; first += pattern.m) {
                    int kept = 0;
                    float least_kept = 1e30F, most_dropped = 0;
                    for (int64_t c = first; c < first + pattern.m; ++c) {
                        const float magnitude = std::abs(weights[at(c)]);
                        kept += mask[at(c)];
                        (mask[at(c)] != 0 ? least_kept : most_dropped) =
                            mask[at(c)] != 0 ? std::min(least_kept, magnitude)
                                             : std::max(most_dropped, magnitude);
                    }
                    EXPECT_EQ(kept, pattern.n);
                    EXPECT_GE(least_kept, most_dropped);
                }
                for (int64_t c = 10 / pattern.m * pattern.m; c < 10; ++c) EXPECT_EQ(mask[at(c)], 1);
            }
        }
    }
}

TEST(Prune, TiesGoToTheLowestChannel) {
    const std::vector<float> weights{1, -1, 1, 1, 0, 2, -2, 2};
    EXPECT_EQ(magnitude_mask(weights, {1, 8, 1}, {2, 4}), (std::vector<uint8_t>{1, 1, 0, 0, 0, 1, 1, 0}));
}

TEST(Prune, EveryDtypeKeepsItsBits) {
    for (const std::string dtype : {"F32", "F16", "BF16", "I8"}) {
        const size_t bytes = static_cast<size_t>(*safetensors_bits(dtype)) / 8;
        TensorHeader header{"w", dtype, {4, 16, 3}};
        NamedTensor tensor{header, Buffer(header.bytes())};
        Random random(2);
        for (size_t i = 0; i < 4 * 16 * 3; ++i) {
            const float value = random.normal();
            if (dtype == "F32") tensor.data.as<float>()[i] = value;
            if (dtype == "F16") tensor.data.as<Half>()[i] = to_half(value);
            if (dtype == "BF16") tensor.data.as<BFloat16>()[i] = to_bfloat16(value);
            if (dtype == "I8") tensor.data.as<int8_t>()[i] = static_cast<int8_t>(random.below(256));
        }
        const std::vector<float> before = float_weights(tensor, tensor.data.as<std::byte>());
        for (const bool permute : {false, true}) {
            const PruneOptions options{.permute = permute};
            const PrunedLayer layer = plan_layer(tensor, before, options);
            NamedTensor pruned{header, Buffer(header.bytes())};
            std::memcpy(pruned.data.data(), tensor.data.data(), pruned.data.bytes());
            apply_plan(layer, options, pruned);
            const std::vector<float> after = float_weights(pruned, pruned.data.as<std::byte>());
            double kept = 0;
            for (int64_t o = 0; o < 4; ++o) {
                for (int64_t c = 0; c < 16; ++c) {
                    for (int64_t p = 0; p < 3; ++p) {
                        const int64_t to = (o * 16 + c) * 3 + p;
                        const int64_t from = (o * 16 + (permute ? layer.permutation[c] : c)) * 3 + p;
                        if (after[to] == 0) continue;
                        kept += std::abs(static_cast<double>(after[to]));
                        EXPECT_EQ(std::memcmp(
                                      pruned.data.as<std::byte>().data() + static_cast<size_t>(to) * bytes,
                                      tensor.data.as<std::byte>().data() + static_cast<size_t>(from) * bytes,
                                      bytes),
                                  0);
                    }
                }
            }
            EXPECT_NEAR(kept, layer.kept, 1e-6 * layer.magnitude) << dtype;
            EXPECT_EQ(permute, layer.kept > layer.kept_plain);
        }
    }
}

TEST(Prune, TransposableHoldsAlongBothAxes) {
    const Shape shape{8, 16, 2};
    const std::vector<float> weights = random_weights(8 * 16 * 2, 3);
    for (const bool permute : {false, true}) {
        const PruneOptions options{.permute = permute, .transposable = true};
        NamedTensor tensor = tensor_of(weights, shape);
        const PrunedLayer layer = plan_layer(tensor, weights, options);
        EXPECT_GE(layer.kept, layer.kept_plain);
        apply_plan(layer, options, tensor);
        const auto after = tensor.data.as<float>();
        double kept = 0;
        for (int64_t p = 0; p < 2; ++p) {
            const auto present = [&](int64_t o, int64_t c) {
                return after[(o * 16 + c) * 2 + p] != 0 ? 1 : 0;
            };
            for (int64_t o = 0; o < 8; ++o) {
                for (int64_t c = 0; c < 16; c += 4) {
                    EXPECT_EQ(present(o, c) + present(o, c + 1) + present(o, c + 2) + present(o, c + 3), 2);
                }
            }
            for (int64_t c = 0; c < 16; ++c) {
                for (int64_t o = 0; o < 8; o += 4) {
                    EXPECT_EQ(present(o, c) + present(o + 1, c) + present(o + 2, c) + present(o + 3, c), 2);
                }
            }
        }
        for (const float value : after) kept += std::abs(static_cast<double>(value));
        EXPECT_NEAR(kept, layer.kept, 1e-6 * layer.magnitude);
    }
}

TEST(Prune, SaysWhatStaysDense) {
    const PruneOptions plain, both{.transposable = true};
    EXPECT_EQ(why_left_dense({"w", "F32", {3, 8}}, plain), "");
    EXPECT_EQ(why_left_dense({"w", "F32", {3, 6}}, plain), "6 input channels are not a multiple of M = 4");
    EXPECT_EQ(why_left_dense({"w", "F32", {3, 8}}, both), "3 outputs are not a multiple of M = 4");
    EXPECT_NE(why_left_dense({"w", "F64", {4, 8}}, plain), "");
    EXPECT_NE(why_left_dense({"w", "F32", {8}}, plain), "");
    EXPECT_NE(why_left_dense({"w", "F32", {0, 8}}, plain), "");
}

TEST(Prune, RefusesWhatIsNotFinite) {
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> weights = random_weights(8, 4);
        weights[5] = bad;
        const NamedTensor tensor = tensor_of(weights, {1, 8});
        EXPECT_THROW(float_weights(tensor, tensor.data.as<std::byte>()), Error);
    }
}

}  // namespace
}  // namespace enmesh
