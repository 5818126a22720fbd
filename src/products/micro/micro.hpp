#pragma once

// The inner loops, written once over a vector type (micro_impl.hpp) and compiled once per instruction set.
// This header is what the compiled copies share with the rest; it is kept free of anything with inline code,
// because a copy of it compiled for AVX-512 must never be the one that the linker keeps.

#include <cstdint>

namespace enmesh::products {

/// A run of pixels that goes from a channel's plane into a channel of the packed tile.
struct CopyRun {
    int64_t from = 0;    ///< floats from the channel's start; ignored for a run of zeros
    int32_t to = 0;      ///< floats from the tile channel's start
    int32_t pixels = 0;  ///< negative: that many pixels of zeros
};

struct PackArgs {
    const float* src = nullptr;  ///< first channel
    int64_t channel_stride = 0;  ///< floats between channels
    int64_t pixel_stride = 0;    ///< floats between the pixels of a run
    int64_t channels = 0;
    const CopyRun* runs = nullptr;
    int64_t run_count = 0;
    int64_t pixel_floats = 0;  ///< floats copied of each pixel
    float* tile = nullptr;
    int64_t tile_channel = 0;  ///< floats between the tile's channels
};

/// One pass over a tile: for each row, accumulators of height x width vectors gain `count` products each.
struct PanelArgs {
    const float* tile = nullptr;
    const float* values = nullptr;      ///< [rows][count]; dense: [rows / 4][count][4]
    const uint16_t* offsets = nullptr;  ///< bytes into the tile: [rows][count]; dense: [count]
    int64_t rows = 0;
    int64_t count = 0;
    int64_t row_pitch = 0;  ///< bytes between the tile rows of neighbouring output rows
    int height = 1, width = 1;
    float* sums = nullptr;  ///< [rows][height * width][lanes]: carries the accumulators from pass to pass
    bool first = true, last = true;
    float* out = nullptr;  ///< where to store whole vectors in the last pass, or null: leave them in `sums`
    const int64_t* out_offsets = nullptr;  ///< floats, per vector
    int64_t out_row = 0;                   ///< floats between rows
    const float* bias = nullptr;           ///< per row, or null
    bool relu = false;
    bool stream = false;  ///< streaming stores to `out`, all of whose vectors lie on cache lines; the dense
                          ///< panel and vectors that are no whole line store as ever
};

/// Weight gradient of one tile: diff[4 rows][columns] += sum over positions and lanes.
struct OuterArgs {
    const float* rows = nullptr;  ///< [4][row_stride floats]: row operand, positions contiguous
    int64_t row_stride = 0;
    const float* columns = nullptr;           ///< tile of the column operand
    const int32_t* column_offsets = nullptr;  ///< floats, per column
    int64_t column_count = 0;
    int64_t lines = 0, line_vectors = 0;    ///< positions: lines of line_vectors vectors
    const int32_t* line_offsets = nullptr;  ///< floats into the column tile, per line
    float* out = nullptr;                   ///< [4][out_stride]
    int64_t out_stride = 0;
    int row_count = 4;
    bool accumulate = false;
};

/// Transposes `count` blocks of rows x columns floats, at most lanes x lanes: to[j * to_row + i] = from[i *
/// from_row + j]. Missing rows up to the lane count come out as zeros.
struct TransposeArgs {
    const float* from = nullptr;
    int64_t from_row = 0, from_block = 0;
    float* to = nullptr;
    int64_t to_row = 0, to_block = 0;
    int64_t rows = 0, columns = 0, count = 1;
};

/// One Winograd tile: where its patch lies in a plane, which part of it is inside, and where its 36 points
/// go.
struct WinogradTile {
    int64_t origin = 0;  ///< floats from a channel's start to the patch's first pixel; may lie outside
    int64_t flat = 0;    ///< floats from a channel's first point to the tile's
    int32_t y_begin = 0, y_end = 0, x_begin = 0, x_end = 0;  ///< rows and columns of the patch that exist
};

/// Transforms between maps and the 36 points of F(4x4, 3x3), for every channel and tile.
struct WinogradArgs {
    const float* src = nullptr;
    float* dst = nullptr;
    int64_t channels = 0;
    int64_t map_channel = 0, map_row = 0, map_pixel = 0;  ///< strides of the map
    int64_t flat_channel = 0, flat_point = 0;             ///< strides of the points
    const WinogradTile* tiles = nullptr;
    int64_t tile_count = 0;
    const float* bias = nullptr;  ///< to a map only
    bool relu = false;
};

using WinogradFn = void (*)(const WinogradArgs&);
/// points [36][point_stride] -> [count][9]: weight gradients of `count` neighbouring filters.
using WinogradWeightsFn = void (*)(const float* points, int64_t point_stride, int64_t count, float* weights);
using TransposeFn = void (*)(const TransposeArgs&);
/// select_mvue in every lane: in [m][lanes], uniforms [lanes] -> values and indices [n][lanes]. False if some
/// lane is not finite; what that lane gets is then meaningless.
using MvueFn = bool (*)(const float* in, int m, int n, const float* uniforms, float* values,
                        int32_t* indices);
using PackFn = void (*)(const PackArgs&);
using PanelFn = void (*)(const PanelArgs&);
using OuterFn = void (*)(const OuterArgs&);
/// Keeps the n largest of m magnitudes in every lane: in [m][lanes] -> values [n][lanes], indices [n][lanes].
using SelectFn = void (*)(const float* in, int m, int n, float* values, int32_t* indices);

struct MicroKernels {
    static constexpr int max_height = 7, max_width = 14;

    const char* name;
    int lanes;
    int max_sums;                            ///< accumulators of a panel
    int max_vectors;                         ///< of a tile's width, at most max_width
    PanelFn panel[max_height][max_width];    ///< [height - 1][width - 1], null beyond max_sums
    PanelFn spread[max_height * max_width];  ///< [vectors - 1]: one row of vectors, each in a segment of
                                             ///< twice its length; null where that gains nothing
    PanelFn dense_panel;
    PackFn pack;
    OuterFn outer;
    SelectFn select;
    WinogradFn winograd_src;   ///< 6x6 patches of a map -> points
    WinogradFn winograd_diff;  ///< 4x4 patches of an output gradient -> points (weight gradient)
    WinogradFn winograd_dst;   ///< points -> 4x4 patches of a map
    WinogradWeightsFn winograd_weights;
    TransposeFn transpose;
    MvueFn mvue;
};

extern const MicroKernels micro_portable;
#if defined(__x86_64__)
extern const MicroKernels micro_avx2;
extern const MicroKernels micro_avx512;
#endif

}  // namespace enmesh::products
