#pragma once

// Included once by each micro_*.cpp, which sets ENMESH_LANES and is compiled for one instruction set.
// Everything here has internal linkage, and nothing from the standard library is instantiated: see micro.hpp.

#include <cstddef>
#include <cstdint>

#include "enmesh/base/prefetch.hpp"
#include "products/micro/micro.hpp"

#if defined(__AVX512F__) && ENMESH_LANES == 16
#include <immintrin.h>
#endif

#ifndef ENMESH_UNROLL  // a test compiles these loops as they stand
#define ENMESH_UNROLL _Pragma("GCC unroll 32")
#endif

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
// To a whole cache line, past the caches. Vectors of half a line and less are stored as ever.
inline void stream(float* at, Vec value) {
#if defined(__AVX512F__) && ENMESH_LANES == 16
    _mm512_stream_ps(at, value);
#else
    store(at, value);
#endif
}
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

// One weight times height x width vectors of the tile, `pitch` bytes apart in a row.
template <int height, int width, int pitch>
inline void multiply(Vec (&sums)[height * width], const char* const (&base)[height], uint16_t offset,
                     float weight) {
    const Vec factor = broadcast(weight);
    ENMESH_UNROLL for (int y = 0; y < height; ++y) {
        const char* const line = base[y] + offset;
        ENMESH_UNROLL for (int x = 0; x < width; ++x) {
            sums[y * width + x] += factor * load_bytes(line + x * pitch);
        }
    }
}

// Offsets are read four at a time and three groups ahead: an address that waits for its load costs a quarter
// of the multiply rate. The caller pads the offsets so that reading ahead stays inside them.
template <int height, int width, int pitch = static_cast<int>(sizeof(Vec))>
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
            multiply<height, width, pitch>(sums, base, static_cast<uint16_t>(now), values[0]);
            multiply<height, width, pitch>(sums, base, static_cast<uint16_t>(now >> 16), values[1]);
            multiply<height, width, pitch>(sums, base, static_cast<uint16_t>(now >> 32), values[2]);
            multiply<height, width, pitch>(sums, base, static_cast<uint16_t>(now >> 48), values[3]);
            now = next;
            next = later;
            later = latest;
            values += 4;
            offsets += 4;
        }
        for (; left > 0; --left) multiply<height, width, pitch>(sums, base, *offsets++, *values++);
        if (args.last) {
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) sums[v] = finish(sums[v], args, row);
        }
        if (args.last && args.out != nullptr) {
            float* const out = args.out + row * args.out_row;
            if (args.stream) {
                ENMESH_UNROLL for (int v = 0; v < vectors; ++v) stream(out + args.out_offsets[v], sums[v]);
            } else {
                ENMESH_UNROLL for (int v = 0; v < vectors; ++v) store(out + args.out_offsets[v], sums[v]);
            }
        } else {
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) store(carried + v * lanes, sums[v]);
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
    const auto step = [&](uint16_t offset, const float* four_weights) {
        const char* const line = base + offset;
        Vec column[vectors];
        ENMESH_UNROLL for (int v = 0; v < vectors; ++v) {
            column[v] = load_bytes(line + v * static_cast<int>(sizeof(Vec)));
        }
        ENMESH_UNROLL for (int i = 0; i < 4; ++i) {
            const Vec factor = broadcast(four_weights[i]);
            ENMESH_UNROLL for (int v = 0; v < vectors; ++v) sums[i][v] += factor * column[v];
        }
    };
    int64_t left = args.count;
    for (; left >= 4; left -= 4, values += 16, offsets += 4) {
        const uint64_t four = load_u64(offsets);
        step(static_cast<uint16_t>(four), values);
        step(static_cast<uint16_t>(four >> 16), values + 4);
        step(static_cast<uint16_t>(four >> 32), values + 8);
        step(static_cast<uint16_t>(four >> 48), values + 12);
    }
    for (; left > 0; --left, values += 4) step(*offsets++, values);
    const bool to_out = args.last && args.out != nullptr;
    ENMESH_UNROLL for (int i = 0; i < 4; ++i) {
        if (args.last && row + i >= args.rows) break;
        ENMESH_UNROLL for (int v = 0; v < vectors; ++v) {
            const Vec value = args.last ? finish(sums[i][v], args, row + i) : sums[i][v];
            store(to_out ? args.out + (row + i) * args.out_row + args.out_offsets[at + v]
                         : carried + (i * area + v) * lanes,
                  value);
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
            // The next channels' planes lie on other pages, where the processor does not read ahead.
            const int64_t ahead = 2 * args.channel_stride;
            for (int64_t f = 0; f < run.pixels * args.pixel_stride; f += 16) prefetch(from, ahead + f);
            for (int32_t p = 0; p < run.pixels; ++p, to += lanes, from += args.pixel_stride)
                store(to, load(from));
        }
    }
}

inline void copy_floats(const float* from, float* to, int64_t count) {
    for (; count >= lanes; count -= lanes, from += lanes, to += lanes) store(to, load(from));
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

// Every second float. The last one is copied by itself, because the vectors read one float past theirs.
inline void copy_even_floats(const float* from, float* to, int64_t count) {
    IntVec even;
    ENMESH_UNROLL for (int i = 0; i < lanes; ++i) even[i] = 2 * i;
    for (; count > lanes; count -= lanes, from += 2 * lanes, to += lanes)
        store(to, __builtin_shuffle(load(from), load(from + lanes), even));
    for (int64_t i = 0; i < count; ++i) to[i] = from[2 * i];
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
                // The next channels' planes lie on other pages, where the processor does not read ahead.
                for (int64_t f = 0; f < run.pixels * width; f += 16)
                    prefetch(from, 2 * args.channel_stride + f);
                copy_floats(from, to, run.pixels * width);
            } else if (width == 1 && args.pixel_stride == 2) {
                copy_even_floats(from, to, run.pixels);
            } else {
                for (int64_t p = 0; p < run.pixels; ++p) {
                    for (int64_t f = 0; f < width; ++f) to[p * width + f] = from[p * args.pixel_stride + f];
                }
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

// The four vectors' sums over their lanes, in the first four lanes.
inline Vec sums_of(Vec a, Vec b, Vec c, Vec d) {
    IntVec low, high, low_pairs, high_pairs;
    ENMESH_UNROLL for (int i = 0; i < lanes; i += 4) {
        low[i] = i, low[i + 1] = lanes + i, low[i + 2] = i + 1, low[i + 3] = lanes + i + 1;
        low_pairs[i] = i, low_pairs[i + 1] = i + 1, low_pairs[i + 2] = lanes + i,
        low_pairs[i + 3] = lanes + i + 1;
    }
    high = low + 2;
    high_pairs = low_pairs + 2;
    const Vec ab = __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
    const Vec cd = __builtin_shuffle(c, d, low) + __builtin_shuffle(c, d, high);
    Vec total = __builtin_shuffle(ab, cd, low_pairs) + __builtin_shuffle(ab, cd, high_pairs);
    ENMESH_UNROLL for (int half = lanes / 2; half >= 4; half /= 2) {
        IntVec swap;
        ENMESH_UNROLL for (int i = 0; i < lanes; ++i) swap[i] = i ^ half;
        total += __builtin_shuffle(total, swap);
    }
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
    ENMESH_UNROLL for (int j = 0; j < columns; ++j) {
        const Vec totals = sums_of(sums[0][j], sums[1][j], sums[2][j], sums[3][j]);
        float* out = args.out + column + j;
        for (int i = 0; i < args.row_count; ++i, out += args.out_stride) {
            *out = args.accumulate ? *out + totals[i] : totals[i];
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
// With constant m and n (0: known only at run time) every rank and slot is a register.
template <int constant_m, int constant_n>
void select_of(const float* in, int run_m, int run_n, float* values, int32_t* indices) {
    const int m = constant_m != 0 ? constant_m : run_m, n = constant_n != 0 ? constant_n : run_n;
    constexpr int most_m = constant_m != 0 ? constant_m : 16, most_n = constant_n != 0 ? constant_n : 16;
    IntVec key[most_m] = {}, rank[most_m] = {};
    ENMESH_UNROLL for (int i = 0; i < m; ++i) key[i] = magnitude(load(in + i * lanes));
    ENMESH_UNROLL for (int i = 1; i < m; ++i) {
        ENMESH_UNROLL for (int j = 0; j < i; ++j) {
            const IntVec later_wins = key[i] > key[j];  // -1 where true
            rank[j] -= later_wins;
            rank[i] += later_wins + 1;
        }
    }
    IntVec value[most_n] = {}, index[most_n] = {}, filled = IntVec{};
    ENMESH_UNROLL for (int i = 0; i < m; ++i) {
        const IntVec kept = rank[i] < n;
        const IntVec bits = reinterpret_cast<IntVec>(load(in + i * lanes));
        ENMESH_UNROLL for (int slot = 0; slot < n && slot <= i; ++slot) {
            const IntVec here = kept & (filled == slot);
            value[slot] |= bits & here;
            index[slot] |= i & here;
        }
        filled -= kept;
    }
    ENMESH_UNROLL for (int slot = 0; slot < n; ++slot) {
        *reinterpret_cast<LooseIntVec*>(values + slot * lanes) = value[slot];
        *reinterpret_cast<LooseIntVec*>(indices + slot * lanes) = index[slot];
    }
}

void select(const float* in, int m, int n, float* values, int32_t* indices) {
    SelectFn fn = select_of<0, 0>;
    if (m == 4) fn = n == 1 ? select_of<4, 1> : n == 2 ? select_of<4, 2> : select_of<4, 3>;
    if (m == 8) fn = n == 1 ? select_of<8, 1> : n == 2 ? select_of<8, 2> : n == 4 ? select_of<8, 4> : fn;
    if (m == 16) fn = n == 1 ? select_of<16, 1> : n == 2 ? select_of<16, 2> : n == 4 ? select_of<16, 4> : fn;
    fn(in, m, n, values, indices);
}

}  // namespace
}  // namespace enmesh::products

#include "products/winograd/micro_winograd_impl.hpp"

namespace enmesh::products {
namespace {

// Exchanges blocks of `half`, half / 2, ..., 1 across the diagonal. A loop over the halves would not be
// unrolled, and its shuffles not be constant.
template <int half>
inline void exchange(Vec (&rows)[lanes]) {
    if constexpr (half > 0) {
        IntVec low, high;
        ENMESH_UNROLL for (int i = 0; i < lanes; ++i) {
            low[i] = (i & half) != 0 ? lanes + i - half : i;
            high[i] = (i & half) != 0 ? lanes + i : i + half;
        }
        ENMESH_UNROLL for (int i = 0; i < lanes; ++i) {
            if ((i & half) != 0) continue;
            const Vec a = rows[i], b = rows[i + half];
            rows[i] = __builtin_shuffle(a, b, low);
            rows[i + half] = __builtin_shuffle(a, b, high);
        }
        exchange<half / 2>(rows);
    }
}

void transpose(const TransposeArgs& args) {
    for (int64_t block = 0; block < args.count; ++block) {
        const float* const from = args.from + block * args.from_block;
        float* const to = args.to + block * args.to_block;
        Vec rows[lanes];
        if (args.rows == lanes && args.columns == lanes) {
            ENMESH_UNROLL for (int i = 0; i < lanes; ++i) rows[i] = load(from + i * args.from_row);
            exchange<lanes / 2>(rows);
            ENMESH_UNROLL for (int j = 0; j < lanes; ++j) store(to + j * args.to_row, rows[j]);
            continue;
        }
        for (int64_t j = 0; j < args.columns; ++j) {
            Vec column = {};
            for (int64_t i = 0; i < args.rows; ++i) column[i] = from[i * args.from_row + j];
            store(to + j * args.to_row, column);
        }
    }
}

inline Vec choose(IntVec condition, Vec yes, Vec no) {
    return reinterpret_cast<Vec>((reinterpret_cast<IntVec>(yes) & condition) |
                                 (reinterpret_cast<IntVec>(no) & ~condition));
}

// What is not certain yet is `live`, with zero in the place of all else. A product with `chances` reaches a
// rest of zero only where nothing is live, so the least positive number in its place tells the two apart.
template <int constant_m, int constant_n>
bool mvue_of(const float* in, int run_m, int run_n, const float* uniforms, float* values, int32_t* indices) {
    const int m = constant_m != 0 ? constant_m : run_m, n = constant_n != 0 ? constant_n : run_n;
    constexpr int most_m = constant_m != 0 ? constant_m : 16, most_n = constant_n != 0 ? constant_n : 16;
    const Vec least = broadcast(0x1p-149F);
    Vec live[most_m] = {}, rest = {}, chances = broadcast(static_cast<float>(n));
    ENMESH_UNROLL for (int i = 0; i < m; ++i) {
        live[i] = reinterpret_cast<Vec>(magnitude(load(in + i * lanes)));
        rest += live[i];
    }
    const IntVec wrong = (rest - rest) != 0.0F;
    ENMESH_UNROLL for (int round = 0; round < n; ++round) {
        const Vec bar = choose(rest > 0.0F, rest, least);
        Vec next = {};
        IntVec taken = {};
        ENMESH_UNROLL for (int i = 0; i < m; ++i) {
            const IntVec certain = live[i] * chances >= bar;
            live[i] = reinterpret_cast<Vec>(reinterpret_cast<IntVec>(live[i]) & ~certain);
            taken -= certain;
            next += live[i];
        }
        rest = next;
        chances -= __builtin_convertvector(taken, Vec);
    }
    const Vec tau = rest / choose(chances > 0.0F, chances, broadcast(1.0F));
    IntVec to_draw = __builtin_convertvector(chances, IntVec), left = {};
    ENMESH_UNROLL for (int i = 0; i < m; ++i) left -= live[i] > 0.0F;
    Vec sum = {}, target = load(uniforms) * tau;
    Vec drawn[most_m] = {};  // the element as the result has it, zero where it is left out
    IntVec kept[most_m] = {}, spare = IntVec{} + n;
    ENMESH_UNROLL for (int i = 0; i < m; ++i) {
        const IntVec x = reinterpret_cast<IntVec>(load(in + i * lanes)), candidate = live[i] > 0.0F;
        const IntVec certain = (magnitude(load(in + i * lanes)) != 0) & ~candidate;
        sum += live[i];
        left += candidate;
        // The last one meets the last target, whatever rounding says.
        const IntVec here = candidate & (to_draw > 0) & ((sum > target) | (left == 0));
        target += reinterpret_cast<Vec>(reinterpret_cast<IntVec>(tau) & here);
        to_draw += here;
        const IntVec sign = x & static_cast<int32_t>(0x80000000U);
        drawn[i] = reinterpret_cast<Vec>(((reinterpret_cast<IntVec>(tau) | sign) & here) | (x & certain));
        kept[i] = here | certain;
        spare += kept[i];
    }
    IntVec value[most_n] = {}, index[most_n] = {}, filled = {};
    ENMESH_UNROLL for (int i = 0; i < m; ++i) {
        const IntVec fill = ~kept[i] & (spare > 0);
        spare += fill;
        const IntVec chosen = kept[i] | fill, bits = reinterpret_cast<IntVec>(drawn[i]);
        ENMESH_UNROLL for (int slot = 0; slot < n && slot <= i; ++slot) {
            const IntVec here = chosen & (filled == slot);
            value[slot] |= bits & here;
            index[slot] |= i & here;
        }
        filled -= chosen;
    }
    ENMESH_UNROLL for (int slot = 0; slot < n; ++slot) {
        *reinterpret_cast<LooseIntVec*>(values + slot * lanes) = value[slot];
        *reinterpret_cast<LooseIntVec*>(indices + slot * lanes) = index[slot];
    }
    int32_t any = 0;
    ENMESH_UNROLL for (int i = 0; i < lanes; ++i) any |= wrong[i];
    return any == 0;
}

bool mvue(const float* in, int m, int n, const float* uniforms, float* values, int32_t* indices) {
    auto* fn = mvue_of<0, 0>;
    if (m == 4) fn = n == 1 ? mvue_of<4, 1> : n == 2 ? mvue_of<4, 2> : fn;
    if (m == 8) fn = n == 1 ? mvue_of<8, 1> : n == 2 ? mvue_of<8, 2> : fn;
    return fn(in, m, n, uniforms, values, indices);
}

template <int height, int width>
constexpr PanelFn panel_or_null() {
    if constexpr (height * width <= max_sums && width <= max_vectors) {
        return &panel<height, width>;
    } else {
        return nullptr;
    }
}

template <int vectors>
constexpr PanelFn spread_or_null() {
    if constexpr (ENMESH_SPREAD && vectors <= max_sums) {
        return &panel<1, vectors, 2 * static_cast<int>(sizeof(Vec))>;
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

#define ENMESH_MICRO_KERNELS(table_name)                                                                   \
    {                                                                                                      \
        table_name, lanes, max_sums, max_vectors,                                                          \
            {ENMESH_PANEL_ROW(1), ENMESH_PANEL_ROW(2), ENMESH_PANEL_ROW(3), ENMESH_PANEL_ROW(4),           \
             ENMESH_PANEL_ROW(5), ENMESH_PANEL_ROW(6), ENMESH_PANEL_ROW(7)},                               \
            {spread_or_null<1>(),  spread_or_null<2>(),  spread_or_null<3>(),  spread_or_null<4>(),        \
             spread_or_null<5>(),  spread_or_null<6>(),  spread_or_null<7>(),  spread_or_null<8>(),        \
             spread_or_null<9>(),  spread_or_null<10>(), spread_or_null<11>(), spread_or_null<12>(),       \
             spread_or_null<13>(), spread_or_null<14>()},                                                  \
            &dense_panel, &pack, &outer, &select, &winograd_from_map<Transform::src, 6>,                   \
            &winograd_from_map<Transform::diff, 4>, &winograd_to_map, &winograd_weights, &transpose, &mvue \
    }

}  // namespace
}  // namespace enmesh::products
