#pragma once

// What the compiled copies of the inner loops (permuted_impl.hpp) share with the rest; free of inline code,
// as micro.hpp.

#include <cstdint>

namespace enmesh::products {

/// Sizes of the register tile and of the prepared weights.
constexpr int permuted_lanes = 16;   ///< output channels in a vector
constexpr int permuted_width = 32;   ///< channels of a block that a permutation chooses from
constexpr int permuted_pixels = 5;   ///< most pixels of a tile
constexpr int permuted_vectors = 4;  ///< most vectors of output channels in a unit
constexpr int permuted_entry =
    64;  ///< uint16_t of one entry of a stream: 32 indices, then 16 pairs of weights

/// One tap of a phase: where its weights lie, and what it reads beside what the first element would.
struct PermutedTap {
    int64_t weights = 0;  ///< the window's r * S + s
    int64_t shift = 0;    ///< elements
};

/// A tile of pixels: where the sums of each go, and where it reads with a shift of 0, in elements from `src`
/// and `out` of its arguments. What it reads there is outside the map where no tap has a shift of 0.
struct PermutedTile {
    int64_t pixels = 0;
    int64_t out[permuted_pixels] = {};
    int64_t in[permuted_pixels] = {};
};

/// One unit (one to four vectors of output channels) of one tile.
struct PermutedArgs {
    const PermutedTile* tile = nullptr;
    const PermutedTap* taps = nullptr;
    const uint8_t* live = nullptr;  ///< per tap, bit i: pixel i reads inside the map
    int64_t tap_count = 0;
    const uint16_t* src = nullptr;      ///< from the tile's first image and the group's first channel
    int64_t plane = 0;                  ///< uint16_t between blocks of 16 channels
    const uint16_t* weights = nullptr;  ///< [tap][block][entry][vector][permuted_entry]
    int64_t tap_stride = 0;             ///< uint16_t between taps
    const int32_t* entries = nullptr;   ///< per block of 32 channels
    int64_t whole_blocks = 0;           ///< of 32 channels
    bool half_block = false;            ///< one more of 16 channels
    float* out = nullptr;               ///< from the tile's first image and the unit's first channel
    int64_t out_plane = 0;              ///< floats between blocks of 16 channels
    const float* bias = nullptr;        ///< of the unit's channels, or null
    bool stream = false;                ///< streaming stores; `out` lies on a cache line
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
