#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "enmesh/base/pattern.hpp"
#include "enmesh/sparsity/permutation.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh {

/// Weights as pruning sees them: [outputs][channels][positions], which is [K][C][R * S] of a convolution and
/// [K][C][1] of a matrix. Groups run along the channels at a fixed output and position.
struct WeightExtents {
    int64_t outputs = 0, channels = 0, positions = 1;

    /// Of a shape of two or more dimensions.
    static WeightExtents of(const Shape& shape);
    int64_t rows() const { return outputs * positions; }
    int64_t elements() const { return rows() * channels; }
};

/// 1 where the element is among the n largest magnitudes of its group (ties: the lowest channel). Channels
/// past the last whole group are all kept.
std::vector<uint8_t> magnitude_mask(std::span<const float> weights, WeightExtents extents, Pattern pattern);

/// F32, F16, BF16 and I8 as float; refuses other dtypes and, naming the tensor, values that are not finite.
std::vector<float> float_weights(const TensorHeader& header, std::span<const std::byte> data);

/// Sets what the mask drops to +0; the other elements keep their bits.
void zero_dropped(std::span<std::byte> data, size_t element_bytes, std::span<const uint8_t> mask);

/// to[:, i] = from[:, permutation[i]].
void permute_channels(std::span<const std::byte> from, std::span<std::byte> to, size_t element_bytes,
                      WeightExtents extents, std::span<const int64_t> permutation);

struct PruneOptions {
    Pattern pattern{2, 4};
    bool permute = false;       ///< search a permutation first
    bool prune = true;          ///< false: permute only
    bool transposable = false;  ///< one mask that is N:M along inputs and along outputs
    PermutationSearch search = PermutationSearch::annealing;
    uint64_t seed = 1;
    double time_limit_seconds = std::numeric_limits<double>::infinity();
};

/// One tensor of a pruning: what is to be done with it and what that keeps.
struct PrunedLayer {
    std::string name;
    int64_t rows = 0, cols = 0;
    double magnitude = 0, kept_plain = 0, kept = 0;  ///< sums of |w|; kept_plain without a permutation
    double seconds = 0;
    bool exact = false;                  ///< no permutation keeps more
    std::vector<int64_t> permutation{};  ///< empty: none searched
    std::string layer{};                 ///< of a network: the layer that the weights are of
    Pattern pattern{};                   ///< that it was planned with
};

/// "" or why a tensor cannot be pruned to this pattern.
std::string why_left_dense(const TensorHeader& header, const PruneOptions& options);

/// Ranks by the options' pattern and, if asked, searches. The time limit is this layer's.
PrunedLayer plan_layer(const TensorHeader& header, std::span<const float> weights,
                       const PruneOptions& options);

/// Carries a plan out on the tensor's bytes, by the layer's pattern.
void apply_plan(const PrunedLayer& layer, const PruneOptions& options, NamedTensor& tensor);

}  // namespace enmesh
