#pragma once

// Included once by each micro_*.cpp, which sets ENMESH_LANES and is compiled for one instruction set.
// Everything here has internal linkage, and nothing from the standard library is instantiated: see micro.hpp.

#include <cstddef>
#include <cstdint>

#include "products/micro.hpp"

#define ENMESH_UNROLL _Pragma("GCC unroll 32")

namespace enmesh::products {
namespace {

constexpr int lanes = ENMESH_LANES;
constexpr int max_sums = ENMESH_MAX_SUMS;
constexpr int max_vectors = ENMESH_MAX_VECTORS;
constexpr int dense_vectors = ENMESH_DENSE_VECTORS;  // 4 rows times this many accumulators

typedef float Vec __attribute__((vector_size(lanes * 4)));
typedef float LooseVec __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(lanes * 4)));
typedef int32_t LooseIntVec __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
typedef uint64_t LooseU64 __attribute__((aligned(2), may_alias));

inline Vec load(const float* at) { return *reinterpret_cast<const LooseVec*>(at); }
inline Vec load_bytes(const char* at) { return *reinterpret_cast<const LooseVec*>(at); }
inline void store(float* at, Vec value) { *reinterpret_cast<LooseVec*>(at) = value; }
inline Vec broadcast(float value) { return value - Vec{}; }
inline Vec positive(Vec value) {
    const IntVec keep = value > 0.0F || value != value;
    return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(value) & keep);
}
inline uint64_t load_u64(const uint16_t* at) { return *reinterpret_cast<const LooseU64*>(at); }

inline Vec finish(Vec value, const PanelArgs& args, int64_t row) {
    if (args.bias != nullptr) value += args.bias[row];
    if (args.relu) value = positive(value);
    return value;
}

// One weight times height x width vectors of the tile.
template <int height, int width>
inline void multiply(Vec (&sums)[height * width], const char* const (&base)[height], uint16_t offset,
                     float weight) {
    const Vec factor = broadcast(weight);
    ENMESH_UNROLL for (int y = 0; y < height; ++y) {
        const char* const line = base[y] + offset;
        ENMESH_UNROLL for (int x = 0; x < width; ++x) {
            sums[y * width + x] += factor * load_bytes(line + x * static_cast<int>(sizeof(Vec)));
        }
    }
}

// Offsets are read four at a time and three groups ahead: an address that waits for its load costs a quarter
// of the multiply rate. The caller pads the offsets so that reading ahead stays inside them.
template <int height, int width>
void panel(const PanelArgs& args) {
    constexpr int vectors = height * width;
    const char* base[height];
    ENMESH_UNROLL for (int y = 0; y < height; ++y) {
        base[y] = reinterpret_cast<const char*>(args.tile) + y * args.row_pitch;
    }
    const float* values = args.values;
    const uint16_t* offsets = args.offsets;
    float* carried = args.sums;
    for (int64_t row = 0; row < args.rows; ++row, carried += vectors * lanes) {
        Vec sums[vectors];
        if (args.first) {
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) sums[v] = Vec{};
        } else {
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) sums[v] = load(carried + v * lanes);
        }
        uint64_t now = load_u64(offsets), next = load_u64(offsets + 4), later = load_u64(offsets + 8);
        int64_t left = args.count;
        for (; left >= 4; left -= 4) {
            const uint64_t latest = load_u64(offsets + 12);
            multiply<height, width>(sums, base, static_cast<uint16_t>(now), values[0]);
            multiply<height, width>(sums, base, static_cast<uint16_t>(now >> 16), values[1]);
            multiply<height, width>(sums, base, static_cast<uint16_t>(now >> 32), values[2]);
            multiply<height, width>(sums, base, static_cast<uint16_t>(now >> 48), values[3]);
            now = next;
            next = later;
            later = latest;
            values += 4;
            offsets += 4;
        }
        for (; left > 0; --left) multiply<height, width>(sums, base, *offsets++, *values++);
        if (!args.last || args.out == nullptr) {
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) store(carried + v * lanes, sums[v]);
        } else {
            float* const out = args.out + row * args.out_row;
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) {
                store(out + args.out_offsets[v], finish(sums[v], args, row));
            }
        }
    }
}

// Four rows times `vectors` neighbouring vectors share their loads; the dense operand needs no index per row.
template <int vectors>
inline void dense_block(const PanelArgs& args, int64_t row, int y, int x) {
    const char* const base =
        reinterpret_cast<const char*>(args.tile) + y * args.row_pitch + x * static_cast<int64_t>(sizeof(Vec));
    const int64_t area = static_cast<int64_t>(args.height) * args.width,
                  at = static_cast<int64_t>(y) * args.width + x;
    float* const carried = args.sums + (row * area + at) * lanes;
    const float* values = args.values + row * args.count;
    const uint16_t* offsets = args.offsets;
    Vec sums[4][vectors];
    ENMESH_UNROLL for (int i = 0; i < 4; ++i) {
        ENMESH_UNROLL for (int v = 0; v < vectors; ++v) {
            sums[i][v] = args.first ? Vec{} : load(carried + (i * area + v) * lanes);
        }
    }
    for (int64_t left = args.count; left > 0; --left, values += 4) {
        const char* const line = base + *offsets++;
        Vec column[vectors];
        ENMESH_UNROLL for (int v = 0; v < vectors; ++v) column[v] =
            load_bytes(line + v * static_cast<int>(sizeof(Vec)));
        ENMESH_UNROLL for (int i = 0; i < 4; ++i) {
            const Vec factor = broadcast(values[i]);
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) sums[i][v] += factor * column[v];
        }
    }
    const bool to_out = args.last && args.out != nullptr;
    ENMESH_UNROLL for (int i = 0; i < 4; ++i) {
        if (to_out && row + i >= args.rows) break;
        ENMESH_UNROLL for (int v = 0; v < vectors; ++v) {
            if (to_out) {
                store(args.out + (row + i) * args.out_row + args.out_offsets[at + v],
                      finish(sums[i][v], args, row + i));
            } else {
                store(carried + (i * area + v) * lanes, sums[i][v]);
            }
        }
    }
}

template <int vectors>
inline void dense_rest(const PanelArgs& args, int64_t row, int y, int x, int left) {
    if constexpr (vectors > 0) {
        if (left == vectors) {
            dense_block<vectors>(args, row, y, x);
        } else {
            dense_rest<vectors - 1>(args, row, y, x, left);
        }
    }
}

void dense_panel(const PanelArgs& args) {
    for (int64_t row = 0; row < args.rows; row += 4) {
        for (int y = 0; y < args.height; ++y) {
            int x = 0;
            for (; x + dense_vectors <= args.width; x += dense_vectors)
                dense_block<dense_vectors>(args, row, y, x);
            dense_rest<dense_vectors - 1>(args, row, y, x, args.width - x);
        }
    }
}

void pack_vectors(const PackArgs& args) {
    for (int64_t channel = 0; channel < args.channels; ++channel) {
        const float* const plane = args.src + channel * args.channel_stride;
        float* const target = args.tile + channel * args.tile_channel;
        for (int64_t i = 0; i < args.run_count; ++i) {
            const CopyRun run = args.runs[i];
            float* to = target + run.to;
            if (run.pixels < 0) {
                for (int32_t p = 0; p < -run.pixels; ++p, to += lanes) store(to, Vec{});
                continue;
            }
            const float* from = plane + run.from;
            for (int32_t p = 0; p < run.pixels; ++p, to += lanes, from += args.pixel_stride)
                store(to, load(from));
        }
    }
}

void pack_floats(const PackArgs& args) {
    const int64_t width = args.pixel_floats;
    for (int64_t channel = 0; channel < args.channels; ++channel) {
        const float* const plane = args.src + channel * args.channel_stride;
        float* const target = args.tile + channel * args.tile_channel;
        for (int64_t i = 0; i < args.run_count; ++i) {
            const CopyRun run = args.runs[i];
            float* const to = target + run.to;
            if (run.pixels < 0) {
                for (int64_t f = 0; f < -run.pixels * width; ++f) to[f] = 0.0F;
                continue;
            }
            const float* const from = plane + run.from;
            if (args.pixel_stride == width) {
                for (int64_t f = 0; f < run.pixels * width; ++f) to[f] = from[f];
                continue;
            }
            for (int64_t p = 0; p < run.pixels; ++p) {
                for (int64_t f = 0; f < width; ++f) to[p * width + f] = from[p * args.pixel_stride + f];
            }
        }
    }
}

void pack(const PackArgs& args) {
    if (args.pixel_floats == lanes) {
        pack_vectors(args);
    } else {
        pack_floats(args);
    }
}

inline float sum_of(Vec value) {
    float total = 0;
    ENMESH_UNROLL for (int half = lanes / 2; half > 0; half /= 2) {
        IntVec swap;
        ENMESH_UNROLL for (int i = 0; i < lanes; ++i) swap[i] = i ^ half;
        value += __builtin_shuffle(value, swap);
    }
    total = value[0];
    return total;
}

template <int columns>
inline void outer_block(const OuterArgs& args, int64_t column) {
    Vec sums[4][columns] = {};
    const float* row_at[4];
    ENMESH_UNROLL for (int i = 0; i < 4; ++i) row_at[i] =
        args.rows + (i < args.row_count ? i : 0) * args.row_stride;
    for (int64_t line = 0; line < args.lines; ++line) {
        const float* column_at[columns];
        ENMESH_UNROLL for (int j = 0; j < columns; ++j) {
            column_at[j] = args.columns + args.column_offsets[column + j] + args.line_offsets[line];
        }
        const int64_t end = args.line_vectors * lanes;
        for (int64_t x = 0; x < end; x += lanes) {
            Vec right[columns];
            ENMESH_UNROLL for (int j = 0; j < columns; ++j) right[j] = load(column_at[j] + x);
            ENMESH_UNROLL for (int i = 0; i < 4; ++i) {
                const Vec left = load(row_at[i] + x);
                ENMESH_UNROLL for (int j = 0; j < columns; ++j) sums[i][j] += left * right[j];
            }
        }
        ENMESH_UNROLL for (int i = 0; i < 4; ++i) row_at[i] += end;
    }
    for (int i = 0; i < args.row_count; ++i) {
        ENMESH_UNROLL for (int j = 0; j < columns; ++j) {
            float* const out = args.out + i * args.out_stride + column + j;
            const float total = sum_of(sums[i][j]);
            *out = args.accumulate ? *out + total : total;
        }
    }
}

void outer(const OuterArgs& args) {
    int64_t column = 0;
    for (; column + 3 <= args.column_count; column += 3) outer_block<3>(args, column);
    for (; column < args.column_count; ++column) outer_block<1>(args, column);
}

inline IntVec magnitude(Vec value) { return reinterpret_cast<IntVec>(value) & 0x7fffffff; }

// Bits of |x| compare like |x| itself, and put NaN above infinity. An element's rank is how many beat it:
// larger, or equal and earlier.
void select(const float* in, int m, int n, float* values, int32_t* indices) {
    IntVec key[16], rank[16];
    for (int i = 0; i < m; ++i) {
        key[i] = magnitude(load(in + i * lanes));
        rank[i] = IntVec{};
    }
    for (int i = 1; i < m; ++i) {
        for (int j = 0; j < i; ++j) {
            const IntVec later_wins = key[i] > key[j];  // -1 where true
            rank[j] -= later_wins;
            rank[i] += later_wins + 1;
        }
    }
    IntVec value[16], index[16], filled = IntVec{};
    for (int slot = 0; slot < n; ++slot) value[slot] = index[slot] = IntVec{};
    for (int i = 0; i < m; ++i) {
        const IntVec kept = rank[i] < n;
        const IntVec bits = reinterpret_cast<IntVec>(load(in + i * lanes));
        for (int slot = 0; slot < n && slot <= i; ++slot) {
            const IntVec here = kept & (filled == slot);
            value[slot] |= bits & here;
            index[slot] |= i & here;
        }
        filled -= kept;
    }
    for (int slot = 0; slot < n; ++slot) {
        *reinterpret_cast<LooseIntVec*>(values + slot * lanes) = value[slot];
        *reinterpret_cast<LooseIntVec*>(indices + slot * lanes) = index[slot];
    }
}

template <int height, int width>
constexpr PanelFn panel_or_null() {
    if constexpr (height * width <= max_sums && width <= max_vectors) {
        return &panel<height, width>;
    } else {
        return nullptr;
    }
}

#define ENMESH_PANEL_ROW(height)                                                                   \
    {                                                                                              \
        panel_or_null<height, 1>(), panel_or_null<height, 2>(), panel_or_null<height, 3>(),        \
            panel_or_null<height, 4>(), panel_or_null<height, 5>(), panel_or_null<height, 6>(),    \
            panel_or_null<height, 7>(), panel_or_null<height, 8>(), panel_or_null<height, 9>(),    \
            panel_or_null<height, 10>(), panel_or_null<height, 11>(), panel_or_null<height, 12>(), \
            panel_or_null<height, 13>(), panel_or_null<height, 14>()                               \
    }

#define ENMESH_MICRO_KERNELS(table_name)                                                          \
    {                                                                                             \
        table_name, lanes, max_sums, max_vectors,                                                 \
            {ENMESH_PANEL_ROW(1), ENMESH_PANEL_ROW(2), ENMESH_PANEL_ROW(3), ENMESH_PANEL_ROW(4)}, \
            &dense_panel, &pack, &outer, &select                                                  \
    }

}  // namespace
}  // namespace enmesh::products
