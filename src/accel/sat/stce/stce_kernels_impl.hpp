// Compiled by stce_kernels_portable.cpp and stce_kernels_avx2.cpp; everything but the table is internal to
// each.

#include <cstring>

#include "accel/sat/stce/stce_kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace enmesh::accel::sat {
namespace {

typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));
constexpr int lanes_of_vector = 8;

inline Floats load(const float* from) {
    Floats value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}
inline void store(float* to, const Floats& value) { std::memcpy(to, &value, sizeof(value)); }

#if defined(__AVX2__)
inline float widen(Half value) { return _cvtsh_ss(value.bits); }
inline Floats widen8(const Half* from) {
    return (Floats)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline Half narrow(float value) { return {_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT)}; }
inline void narrow8(const Floats& value, Half* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
}
/// Element i is table[indices[i]]; tables have 16 floats, indices below `reach`.
template <int reach>
inline Floats pick(const Floats& low, const Floats& high, const uint8_t* indices) {
    const __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(indices)));
    const __m256 first = _mm256_permutevar8x32_ps((__m256)low, at);
    if constexpr (reach <= 8) return (Floats)first;
    const __m256 second = _mm256_permutevar8x32_ps((__m256)high, at);
    return (Floats)_mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
}
#else
inline float widen(Half value) { return to_float(value); }
inline Floats widen8(const Half* from) {
    Floats value;
    for (int i = 0; i < lanes_of_vector; ++i) value[i] = to_float(from[i]);
    return value;
}
inline Half narrow(float value) { return to_half(value); }
inline void narrow8(const Floats& value, Half* to) {
    for (int i = 0; i < lanes_of_vector; ++i) to[i] = to_half(value[i]);
}
template <int reach>
inline Floats pick(const Floats& low, const Floats& high, const uint8_t* indices) {
    Floats value;
    for (int i = 0; i < lanes_of_vector; ++i)
        value[i] = indices[i] < 8 ? low[indices[i]] : high[indices[i] - 8];
    return value;
}
#endif

/// Points the row link at pixel `state.fill_pixel` of group `state.fill_group`.
inline void aim_link(const StepRow& row, StepState& state) {
    const int64_t pixels = row.pixels ? row.lanes : 1;
    const int64_t local = row.ws ? state.fill_group * pixels + state.fill_pixel : state.fill_pixel;
    const int64_t tail = state.fill_group < row.whole_groups ? state.fill_group : row.whole_groups;
    const int64_t position = row.ws ? row.position : tail * row.group;
    state.available = 0;
    if (state.fill_group >= row.steps || local >= row.streamed_rows || position >= row.k) return;
    const int64_t left = row.k - position;
    state.available = static_cast<int>(left < row.group ? left : row.group);
    state.source = row.streamed + local * row.k + position;
}

inline void begin_fill(const StepRow& row, StepState& state, int64_t group) {
    state.fill_group = group;
    state.fill_pixel = state.fill_position = 0;
    aim_link(row, state);
}

/// One cycle of the row link; true once the bank holds the whole group.
inline bool move_link(const StepRow& row, StepState& state, int pixels) {
    float* bank = row.latch + (state.bank ^ 1) * pixels * 16;
    for (int v = 0; v < row.link; ++v) {
        const int at = state.fill_position;
        bank[state.fill_pixel * 16 + at] = at < state.available ? widen(state.source[at]) : 0.0F;
        if (++state.fill_position < row.group) continue;
        state.fill_position = 0;
        if (++state.fill_pixel == pixels) return true;
        aim_link(row, state);
    }
    return false;
}

/// One product in every column of the row: to = from + latch[index] * entry. The product of two FP16 values
/// is exact in FP32, so it does not matter whether the compiler fuses it with the add.
template <int reach>
inline void multiply_add(const StepRow& row, const float* latch, int round, int64_t slot, const float* from,
                         float* to) {
    const float* entries = row.entries + slot * row.padded_cols;
    if constexpr (reach == 0) {
        const float shared = latch[round];
        for (int j = 0; j < row.padded_cols; j += lanes_of_vector)
            store(to + j, load(from + j) + shared * load(entries + j));
    } else {
        const uint8_t* indices = row.indices + slot * row.padded_cols;
        const Floats low = load(latch), high = load(latch + 8);
        for (int j = 0; j < row.padded_cols; j += lanes_of_vector)
            store(to + j, load(from + j) + pick<reach>(low, high, indices + j) * load(entries + j));
    }
}

/// Steps a row cycle by cycle: the issue side and the row link advance side by side, and a group begins when
/// both are through with the one before. `reach` is 0 for dense (every column picks value `round`), else the
/// largest M.
template <int reach, bool ws>
bool step_row_as(const StepRow& row, StepState& state, int64_t stop) {
    const int pixels = row.pixels ? row.lanes : 1;
    const int lanes = row.lanes, values = row.values;
    const int64_t slots = static_cast<int64_t>(values) * (row.pixels ? 1 : lanes);
    if (!state.running) {
        begin_fill(row, state, 0);
        while (!move_link(row, state, pixels)) ++state.cycle;
        ++state.cycle;
        // Wait for the first sum (WS) or packed entry (OS) from the row above.
        if (!row.first_row && row.stamps[0] > state.cycle) state.cycle = row.stamps[0];
        state.running = true;
    }
    bool in_time = true;
    int64_t cycle = state.cycle;
    for (; state.group < stop; ++state.group) {
        const int64_t local = state.group - row.first_step;
        state.bank ^= 1;
        begin_fill(row, state, state.group + 1);
        const float* latch = row.latch + state.bank * pixels * 16;
        const int64_t first_slot = ws ? 0 : local * slots;
        int round = 0, lane = 0;
        bool issued = false, filled = false;
        for (;; ++cycle) {
            if (!issued && lane == lanes && cycle >= state.visible[0]) {
                lane = 0;
                issued = ++round == values;
            }
            if (issued && filled) break;
            if (!issued && lane < lanes) {
                const int64_t slot = first_slot + (row.pixels ? round : round * lanes + lane);
                float* own = row.sums + static_cast<int64_t>(lane) * row.padded_cols;
                float* passing = nullptr;
                int64_t* stamp = nullptr;
                const float* from = own;
                float* to = own;
                if constexpr (ws) {
                    passing = row.passing + (local * lanes + lane) * row.padded_cols;
                    stamp = row.stamps + local * lanes + lane;
                    if (round == 0) {
                        from = passing;
                        in_time &= row.first_row || *stamp == cycle;
                    } else {
                        in_time &= state.visible[lane] <= cycle;
                    }
                    if (round == values - 1) {
                        to = passing;
                        *stamp = cycle + row.latency;
                    }
                } else {
                    in_time &= state.visible[lane] <= cycle;
                    if (!row.pixels || lane == 0) {
                        stamp = row.stamps + slot;
                        in_time &= row.first_row || *stamp == cycle;
                        *stamp = cycle + 1;
                    }
                }
                multiply_add<reach>(row, latch + (row.pixels ? lane * 16 : 0), round, slot, from, to);
                state.visible[lane] = cycle + row.latency;
                ++lane;
            }
            if (!filled) filled = move_link(row, state, pixels);
        }
    }
    state.cycle = cycle;
    return in_time;
}

bool step_row(const StepRow& row, StepState& state, int64_t stop) {
    if (row.dense)
        return row.ws ? step_row_as<0, true>(row, state, stop) : step_row_as<0, false>(row, state, stop);
    if (row.group <= 8)
        return row.ws ? step_row_as<8, true>(row, state, stop) : step_row_as<8, false>(row, state, stop);
    return row.ws ? step_row_as<16, true>(row, state, stop) : step_row_as<16, false>(row, state, stop);
}

constexpr int row_vectors = product_rows / lanes_of_vector;

/// panel[k - first][32] = streamed[32][k] for k in [first, end), FP32, zero beyond the edges.
void transpose_panel(const ProductBlock& block, int64_t first, int64_t end) {
    float lines[product_rows][lanes_of_vector];
    for (int64_t k = first; k < end; k += lanes_of_vector) {
        const int64_t left = block.k - k;
        const int count = static_cast<int>(left < lanes_of_vector ? (left < 0 ? 0 : left) : lanes_of_vector);
        for (int r = 0; r < product_rows; ++r) {
            const Half* from = block.streamed + r * block.k + k;
            if (r < block.rows && count == lanes_of_vector) {
                store(lines[r], widen8(from));
            } else {
                for (int i = 0; i < lanes_of_vector; ++i)
                    lines[r][i] = r < block.rows && i < count ? widen(from[i]) : 0.0F;
            }
        }
        const int64_t rest = end - k;
        const int wide = static_cast<int>(rest < lanes_of_vector ? rest : lanes_of_vector);
        float* panel = block.panel + (k - first) * product_rows;
        for (int i = 0; i < wide; ++i)
            for (int r = 0; r < product_rows; ++r) panel[i * product_rows + r] = lines[r][i];
    }
}

/// Entries [begin, end) of every column, whose positions the panel holds from `first` on.
struct ProductSlice {
    int64_t begin = 0, end = 0, first = 0;
};

/// The chains of `count` columns: vectors across streamed rows, one broadcast entry a column. They wait in
/// `sums` between slices.
template <int count, bool dense>
inline void product_columns(const ProductBlock& block, const ProductSlice& slice, int64_t column) {
    Floats chain[count][row_vectors] = {};
    float* sums = block.sums + column * product_rows;
    if (slice.begin > 0 || block.resume)
        for (int i = 0; i < count * row_vectors; ++i)
            chain[i / row_vectors][i % row_vectors] = load(sums + i * lanes_of_vector);

    const float* values = block.values + column * block.entries;
    const int32_t* positions = block.positions + column * block.entries;
    for (int64_t e = slice.begin; e < slice.end; ++e)
        for (int c = 0; c < count; ++c) {
            const int64_t k = (dense ? e : positions[c * block.entries + e]) - slice.first;
            const float* line = block.panel + k * product_rows;
            const float value = values[c * block.entries + e];
            for (int v = 0; v < row_vectors; ++v) chain[c][v] += value * load(line + v * lanes_of_vector);
        }

    for (int i = 0; i < count * row_vectors; ++i)
        store(sums + i * lanes_of_vector, chain[i / row_vectors][i % row_vectors]);
    if (slice.end < block.entries || block.out == nullptr) return;
    for (int c = 0; c < count; ++c)
        for (int r = 0; r < block.rows; ++r) {
            const float value = sums[c * product_rows + r];
            block.out[r * block.columns + column + c] = value == value ? value : __builtin_nanf("");
        }
}

template <bool dense>
void product_slice(const ProductBlock& block, const ProductSlice& slice) {
    int64_t column = 0;
    for (; column + 3 <= block.columns; column += 3) product_columns<3, dense>(block, slice, column);
    for (; column < block.columns; ++column) product_columns<1, dense>(block, slice, column);
}

void product_block(const ProductBlock& block) {
    const int64_t slice_groups = product_panel / block.group;
    const auto base = [&](int64_t g) {
        return (g < block.whole_groups ? g : block.whole_groups) * block.group;
    };
    for (int64_t g = 0; g < block.groups; g += slice_groups) {
        const int64_t end = g + slice_groups < block.groups ? g + slice_groups : block.groups;
        const ProductSlice slice = {g * block.group_entries, end * block.group_entries, base(g)};
        transpose_panel(block, slice.first, base(end - 1) + block.group);
        block.dense ? product_slice<true>(block, slice) : product_slice<false>(block, slice);
    }
}

void product_panel_block(const ProductBlock& block) {
    const ProductSlice slice = {0, block.entries, 0};
    block.dense ? product_slice<true>(block, slice) : product_slice<false>(block, slice);
}

void widen_all(const Half* from, float* to, int64_t count) {
    int64_t i = 0;
    for (; i + lanes_of_vector <= count; i += lanes_of_vector) store(to + i, widen8(from + i));
    for (; i < count; ++i) to[i] = widen(from[i]);
}

void narrow_all(const float* from, Half* to, int64_t count) {
    int64_t i = 0;
    for (; i + lanes_of_vector <= count; i += lanes_of_vector) narrow8(load(from + i), to + i);
    for (; i < count; ++i) to[i] = narrow(from[i]);
}

constexpr StceKernels kernels = {step_row, product_block, product_panel_block, widen_all, narrow_all};

}  // namespace
}  // namespace enmesh::accel::sat
