#pragma once

// What the compiled copies of the inner loops (permuted_impl.hpp) share with the rest; free of inline code,
// as micro.hpp.

#include <cstdint>

namespace enmesh::products {

/// Sizes of the register tile and of the prepared weights.
constexpr int permuted_lanes = 16;   ///< output channels in a vector
constexpr int permuted_width = 32;   ///< channels of a block that a permutation chooses from
constexpr int permuted_pixels = 7;   ///< most pixels of a tile
constexpr int permuted_vectors = 2;  ///< most vectors of output channels in a unit
constexpr int permuted_entry =
    64;  ///< uint16_t of one entry of a stream: 32 indices, then 16 pairs of weights

/// One tap of a tile: the pixels that it reads.
struct PermutedTap {
    int32_t tap = 0;                      ///< where its weights lie: the window's r * S + s
    uint32_t live = 0;                    ///< bit i: pixel i of the tile reads inside the map
    int32_t lines[permuted_pixels] = {};  ///< 16-channel lines from the map's start; 0 where not live
};

/// A tile of output pixels and the taps that reach some pixel.
struct PermutedTile {
    int32_t pixels = 0;
    int32_t tap_count = 0;
    const PermutedTap* taps = nullptr;
    int32_t lines[permuted_pixels] = {};  ///< 16-channel lines from the output map's start
};

/// One unit (one or two vectors of output channels) of one tile.
struct PermutedArgs {
    const PermutedTile* tile = nullptr;
    const uint16_t* src = nullptr;      ///< the map, moved to the group's first channel
    int64_t plane = 0;                  ///< uint16_t between blocks of 16 channels
    const uint16_t* weights = nullptr;  ///< [tap][block][entry][vector][permuted_entry]
    int64_t tap_stride = 0;             ///< uint16_t between taps
    const int32_t* entries = nullptr;   ///< per block of 32 channels
    int64_t whole_blocks = 0;           ///< of 32 channels
    bool half_block = false;            ///< one more of 16 channels
    float* out = nullptr;               ///< the map, moved to the unit's first channel
    int64_t out_plane = 0;              ///< floats between blocks of 16 channels
    const float* bias = nullptr;        ///< of the unit's channels, or null
};

using PermutedFn = void (*)(const PermutedArgs&);

struct PermutedLoops {
    const char* name;
    PermutedFn multiply[permuted_vectors][permuted_pixels];  ///< [vectors - 1][pixels - 1]
};

extern const PermutedLoops permuted_portable;
#if defined(__x86_64__)
extern const PermutedLoops permuted_avx512;
extern const PermutedLoops permuted_avx512_bf16;
#endif

}  // namespace enmesh::products
