#include "enmesh/sparsity/prune.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/products/select.hpp"
#include "enmesh/sparsity/permutation.hpp"

namespace enmesh {
namespace {

template <typename Stored, typename Convert>
void convert(std::span<const std::byte> data, std::vector<float>& to, const Convert& to_f32) {
    to.resize(data.size() / sizeof(Stored));
    const auto* const from = reinterpret_cast<const Stored*>(data.data());
    for (size_t i = 0; i < to.size(); ++i) to[i] = to_f32(from[i]);
}

/// The mask in the order of `weights`.
std::vector<uint8_t> mask_of(std::span<const float> weights, WeightExtents extents, Pattern pattern,
                             bool transposable) {
    if (!transposable) return magnitude_mask(weights, extents, pattern);
    std::vector<uint8_t> mask(weights.size());
    products::Conv conv;
    conv.k = extents.outputs;
    conv.c = extents.channels;
    conv.h = conv.r = extents.positions;
    products::transposable_mask(conv, pattern, weights, mask);
    return mask;
}

double kept_by(std::span<const uint8_t> mask, std::span<const float> weights) {
    double kept = 0;
    for (size_t i = 0; i < mask.size(); ++i)
        kept += mask[i] != 0 ? static_cast<double>(std::abs(weights[i])) : 0;
    return kept;
}

}  // namespace

WeightExtents WeightExtents::of(const Shape& shape) {
    ENMESH_ASSERT(shape.rank() >= 2);
    WeightExtents extents{shape[0], shape[1], 1};
    for (int axis = 2; axis < shape.rank(); ++axis) extents.positions *= shape[axis];
    return extents;
}

std::vector<uint8_t> magnitude_mask(std::span<const float> weights, WeightExtents extents, Pattern pattern) {
    ENMESH_ASSERT(static_cast<int64_t>(weights.size()) == extents.elements());
    std::vector<uint8_t> mask(weights.size(), 1);
    const int64_t whole = extents.channels / pattern.m * pattern.m, step = extents.positions;
    parallel_for(extents.outputs, 1 + (1 << 16) / std::max<int64_t>(1, extents.channels * step),
                 [&](int64_t begin, int64_t end) {
                     for (int64_t output = begin; output < end; ++output) {
                         for (int64_t channel = 0; channel < whole; channel += pattern.m) {
                             for (int64_t position = 0; position < step; ++position) {
                                 const int64_t first =
                                     (output * extents.channels + channel) * step + position;
                                 // Rank of a member: how many are larger, or equal and before it.
                                 for (int i = 0; i < pattern.m; ++i) {
                                     const float own = std::abs(weights[first + i * step]);
                                     int rank = 0;
                                     for (int j = 0; j < pattern.m; ++j) {
                                         const float other = std::abs(weights[first + j * step]);
                                         rank += other > own || (other == own && j < i) ? 1 : 0;
                                     }
                                     mask[first + i * step] = rank < pattern.n ? 1 : 0;
                                 }
                             }
                         }
                     }
                 });
    return mask;
}

std::vector<float> float_weights(const TensorHeader& header, std::span<const std::byte> data) {
    std::vector<float> weights;
    if (header.dtype == "F32") {
        convert<float>(data, weights, [](float value) { return value; });
    } else if (header.dtype == "F16") {
        convert<Half>(data, weights, [](Half value) { return to_float(value); });
    } else if (header.dtype == "BF16") {
        convert<BFloat16>(data, weights, [](BFloat16 value) { return to_float(value); });
    } else if (header.dtype == "I8") {
        convert<int8_t>(data, weights, [](int8_t value) { return static_cast<float>(value); });
    } else {
        refuse("tensor '{}': {} weights are not pruned", header.name, header.dtype);
    }
    const auto bad =
        std::find_if(weights.begin(), weights.end(), [](float value) { return !std::isfinite(value); });
    if (bad != weights.end()) {
        refuse("tensor '{}': element {} is {}, only finite weights can be pruned", header.name,
               bad - weights.begin(), *bad);
    }
    return weights;
}

void zero_dropped(std::span<std::byte> data, size_t element_bytes, std::span<const uint8_t> mask) {
    ENMESH_ASSERT(data.size() == mask.size() * element_bytes);
    for (size_t i = 0; i < mask.size(); ++i) {
        if (mask[i] == 0) std::memset(data.data() + i * element_bytes, 0, element_bytes);
    }
}

void permute_channels(std::span<const std::byte> from, std::span<std::byte> to, size_t element_bytes,
                      WeightExtents extents, std::span<const int64_t> permutation) {
    const auto channel_bytes = static_cast<size_t>(extents.positions) * element_bytes;
    ENMESH_ASSERT(from.size() == to.size() && static_cast<int64_t>(permutation.size()) == extents.channels &&
                  from.size() == static_cast<size_t>(extents.elements()) * element_bytes);
    for (int64_t output = 0; output < extents.outputs; ++output) {
        const size_t row = static_cast<size_t>(output * extents.channels) * channel_bytes;
        for (size_t i = 0; i < permutation.size(); ++i) {
            std::memcpy(to.data() + row + i * channel_bytes,
                        from.data() + row + static_cast<size_t>(permutation[i]) * channel_bytes,
                        channel_bytes);
        }
    }
}

std::string why_left_dense(const TensorHeader& header, const PruneOptions& options) {
    if (header.shape.rank() < 2) return "fewer than two dimensions";
    if (header.dtype != "F32" && header.dtype != "F16" && header.dtype != "BF16" && header.dtype != "I8") {
        return fmt::format("{} weights are not pruned (F32, F16, BF16 and I8 are)", header.dtype);
    }
    if (header.bytes() == 0) return "no elements";
    const int m = options.pattern.m;
    if (header.shape[1] % m != 0)
        return fmt::format("{} input channels are not a multiple of M = {}", header.shape[1], m);
    if (options.transposable && header.shape[0] % m != 0) {
        return fmt::format("{} outputs are not a multiple of M = {}", header.shape[0], m);
    }
    return "";
}

PrunedLayer plan_layer(const TensorHeader& header, std::span<const float> weights,
                       const PruneOptions& options) {
    const Timer timer;
    const WeightExtents extents = WeightExtents::of(header.shape);
    PrunedLayer layer{.name = header.name, .rows = extents.rows(), .cols = extents.channels};
    layer.pattern = options.pattern;
    MagnitudeColumns magnitudes(extents.rows(), extents.channels);
    add_magnitudes(magnitudes, 0, weights, extents.outputs, extents.channels, extents.positions);
    if (options.permute) {
        PermutationResult found = search_permutation(magnitudes, options.pattern,
                                                     {.seed = options.seed,
                                                      .search = options.search,
                                                      .time_limit_seconds = options.time_limit_seconds});
        layer.magnitude = found.magnitude;
        layer.kept_plain = found.kept_plain;
        layer.kept = found.kept;
        layer.exact = found.exact;
        layer.permutation = std::move(found.permutation);
    } else {
        std::vector<int64_t> identity(static_cast<size_t>(extents.channels));
        std::iota(identity.begin(), identity.end(), int64_t{0});
        for (const float weight : weights) layer.magnitude += static_cast<double>(std::abs(weight));
        layer.kept_plain = layer.kept = kept_magnitude(magnitudes, options.pattern, identity);
    }
    if (options.transposable) {
        layer.exact = false;
        layer.kept_plain = layer.kept = kept_by(mask_of(weights, extents, options.pattern, true), weights);
        if (options.permute) {
            std::vector<float> permuted(weights.size());
            permute_channels(std::as_bytes(weights), std::as_writable_bytes(std::span(permuted)),
                             sizeof(float), extents, layer.permutation);
            layer.kept = kept_by(mask_of(permuted, extents, options.pattern, true), permuted);
            if (layer.kept < layer.kept_plain) {
                std::iota(layer.permutation.begin(), layer.permutation.end(), int64_t{0});
                layer.kept = layer.kept_plain;
            }
        }
    }
    layer.seconds = timer.seconds();
    return layer;
}

void apply_plan(const PrunedLayer& layer, const PruneOptions& options, NamedTensor& tensor) {
    const WeightExtents extents = WeightExtents::of(tensor.shape);
    const auto element_bytes = static_cast<size_t>(*safetensors_bits(tensor.dtype)) / 8;
    if (!layer.permutation.empty()) {
        Buffer permuted(tensor.data.bytes());
        permute_channels(tensor.data.as<std::byte>(), permuted.as<std::byte>(), element_bytes, extents,
                         layer.permutation);
        tensor.data = std::move(permuted);
    }
    if (!options.prune) return;
    const std::vector<float> weights = float_weights(tensor, tensor.data.as<std::byte>());
    zero_dropped(tensor.data.as<std::byte>(), element_bytes,
                 mask_of(weights, extents, layer.pattern, options.transposable));
}

}  // namespace enmesh
