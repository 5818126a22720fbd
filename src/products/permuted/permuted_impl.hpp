#pragma once

// The register tile, written once over the operations of an instruction set. Included once by each
// permuted_*.cpp, which first defines ENMESH_UNROLL, what stands before loops over the tile, and in an
// unnamed namespace `Ops`:
//   Pixel           32 channels of a pixel
//   Indices         for each of 16 lanes, two channels of the 32
//   Weights         for each lane, the two weights
//   Sums            16 float sums
//   load(at, plane, live)   two blocks of 16 channels, `plane` apart; zeros where not live
//   load_half(at, live)     one block of 16 channels, then zeros
//   multiply(sums, indices, weights, pixel)   sums += the pixel's chosen channels times the weights
//   pin(sums)               keeps the compiler from moving what is done to these sums across this point
//   store(out, sums, bias)  sums (+ bias) to 16 floats; stream() the same past the caches, to a whole line

#include <cstddef>
#include <cstdint>

#include "products/permuted/permuted_loops.hpp"

namespace enmesh::products {
namespace {

// Weights and indices are loaded once for all pixels of the tile. The sums are pinned after each multiply:
// left to itself, GCC 12 permutes several pixels first and then lacks the registers for it. The weights are
// not prefetched: that would take slots of the loads, and the processor sees the stream coming.
template <int vectors, int pixels>
inline const uint16_t* multiply_block(Ops::Sums (&sums)[vectors][pixels], const Ops::Pixel (&pixel)[pixels],
                                      const uint16_t* weights, int32_t entries) {
    for (int32_t entry = 0; entry < entries; ++entry) {
        ENMESH_UNROLL for (int vector = 0; vector < vectors; ++vector) {
            const auto indices = Ops::load_indices(weights);
            const auto pairs = Ops::load_weights(weights + permuted_width);
            ENMESH_UNROLL for (int i = 0; i < pixels; ++i) {
                Ops::multiply(sums[vector][i], indices, pairs, pixel[i]);
                Ops::pin(sums[vector][i]);
            }
            weights += permuted_entry;
        }
    }
    return weights;
}

template <int vectors, int pixels>
void multiply_tile(const PermutedArgs& args) {
    const PermutedTile& tile = *args.tile;
    Ops::Sums sums[vectors][pixels];
    ENMESH_UNROLL for (int vector = 0; vector < vectors; ++vector) {
        ENMESH_UNROLL for (int i = 0; i < pixels; ++i) Ops::clear(sums[vector][i]);
    }
    for (int64_t t = 0; t < args.tap_count; ++t) {
        const uint32_t inside = args.live[t];
        if (inside == 0) continue;
        const uint16_t* weights = args.weights + args.taps[t].weights * args.tap_stride;
        const uint16_t* const src = args.src + args.taps[t].shift;
        const uint16_t* at[pixels];
        Ops::Live live[pixels];
        ENMESH_UNROLL for (int i = 0; i < pixels; ++i) {
            const uint32_t bit = inside >> i & 1;
            at[i] = bit != 0 ? src + tile.in[i] : args.src;  // loaded, then masked
            live[i] = Ops::live(bit);
        }
        Ops::Pixel pixel[pixels];
        for (int64_t block = 0; block < args.whole_blocks; ++block) {
            ENMESH_UNROLL for (int i = 0; i < pixels; ++i) {
                pixel[i] = Ops::load(at[i], args.plane, live[i]);
                at[i] += 2 * args.plane;
            }
            weights = multiply_block<vectors, pixels>(sums, pixel, weights, args.entries[block]);
        }
        if (args.half_block) {
            ENMESH_UNROLL for (int i = 0; i < pixels; ++i) pixel[i] = Ops::load_half(at[i], live[i]);
            multiply_block<vectors, pixels>(sums, pixel, weights, args.entries[args.whole_blocks]);
        }
    }
    ENMESH_UNROLL for (int vector = 0; vector < vectors; ++vector) {
        float* const out = args.out + vector * args.out_plane;
        const float* const bias = args.bias == nullptr ? nullptr : args.bias + vector * permuted_lanes;
        ENMESH_UNROLL for (int i = 0; i < pixels; ++i) {
            if (args.stream)
                Ops::stream(out + tile.out[i], sums[vector][i], bias);
            else
                Ops::store(out + tile.out[i], sums[vector][i], bias);
        }
    }
}

}  // namespace
}  // namespace enmesh::products

#define ENMESH_PERMUTED_VECTORS(vectors)                                                 \
    {                                                                                    \
        multiply_tile<vectors, 1>, multiply_tile<vectors, 2>, multiply_tile<vectors, 3>, \
            multiply_tile<vectors, 4>, multiply_tile<vectors, 5>                         \
    }
#define ENMESH_PERMUTED_LOOPS(name)                                                             \
    {                                                                                           \
        name, {                                                                                 \
            ENMESH_PERMUTED_VECTORS(1), ENMESH_PERMUTED_VECTORS(2), ENMESH_PERMUTED_VECTORS(3), \
                ENMESH_PERMUTED_VECTORS(4)                                                      \
        }                                                                                       \
    }
