#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "layout.hpp"

/// The selection on the CPU, quad by quad: what the GPU's must equal bit by bit. No CUDA in here.
namespace enmesh::cuda {

struct PackedOnCpu {
    PackedSize size;
    std::vector<uint16_t> values;
    std::vector<uint32_t> metadata;
};

inline uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

/// The 16-bit form of a float32.
using Rounding = uint16_t (*)(float);
uint16_t to_f16(float value);
uint16_t to_bf16(float value);

/// `element(row, depth)` for every row and depth; both are filled up with zeros.
template <typename Element>
PackedOnCpu pack_on_cpu(int64_t rows, int64_t depth, Rounding round, const Element& element) {
    PackedOnCpu packed{packed_size(rows, depth), {}, {}};
    packed.values.assign(static_cast<size_t>(packed.size.values()), 0);
    packed.metadata.assign(static_cast<size_t>(packed.size.words()), padding_metadata);
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t quad = 0; quad < depth / 4; ++quad) {
            float quads[4];
            uint32_t bits[4];
            for (int i = 0; i < 4; ++i) {
                quads[i] = element(row, quad * 4 + i);
                bits[i] = bits_of(quads[i]);
            }
            const unsigned chosen = two_largest(bits[0], bits[1], bits[2], bits[3]);
            unsigned kept = 0;
            for (unsigned i = 0; i < 4; ++i)
                if ((chosen >> i & 1U) != 0 && round(quads[i]) != 0) kept |= 1U << i;
            const unsigned nibble = nibble_of(kept);
            for (unsigned i = 0; i < 2; ++i) {
                const unsigned place = nibble >> (2 * i) & 3U;
                if ((kept >> place & 1U) == 0) continue;
                packed.values[static_cast<size_t>(value_index(row, quad, packed.size.depth) + i)] =
                    round(quads[place]);
            }
            uint32_t& word =
                packed.metadata[static_cast<size_t>(metadata_word(row, quad, packed.size.depth))];
            const unsigned shift = metadata_shift(row, quad);
            word = (word & ~(15U << shift)) | nibble << shift;
        }
    }
    return packed;
}

/// FF's and BP's operands of a layer's masters [outputs][positions][inputs].
PackedOnCpu pack_forward(const Layer& layer, Rounding round, const std::vector<float>& master);
PackedOnCpu pack_backward(const Layer& layer, Rounding round, const std::vector<float>& master);
/// [rows][depth] with the zeros.
std::vector<uint16_t> expand_on_cpu(const PackedOnCpu& packed, int64_t rows, int64_t depth);

}  // namespace enmesh::cuda
