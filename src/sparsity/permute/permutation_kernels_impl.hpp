// Included once per instruction set, with ENMESH_LANES (floats in a vector) and ENMESH_KERNELS (the table's
// name) defined. Nothing here calls an inline function from elsewhere: the linker might otherwise keep this
// instruction set's copy of it.

#include <utility>

#include "sparsity/permute/permutation_kernels.hpp"

namespace enmesh::permutation {
namespace {

constexpr int lanes = ENMESH_LANES;
typedef float Vec __attribute__((vector_size(sizeof(float) * ENMESH_LANES)));

/// Rows summed in single precision before a partial sum goes on.
constexpr int64_t chunk = 1024;
constexpr int64_t slot_tile = 32;

inline Vec load(const float* from) { return *reinterpret_cast<const Vec*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<Vec*>(to) = value; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }

inline float across(Vec value) {
    float sum = 0;
    for (int lane = 0; lane < lanes; ++lane) sum += value[lane];
    return sum;
}

template <int Slots, int Columns>
void max_sums_block(const float* const* slots, const float* const* columns, int64_t begin, int64_t end,
                    float* const* sums, int64_t first) {
    Vec total[Slots][Columns] = {};
    for (int64_t row = begin; row < end; row += lanes) {
        Vec x[Columns];
        for (int j = 0; j < Columns; ++j) x[j] = load(columns[j] + row);
        for (int i = 0; i < Slots; ++i) {
            const Vec threshold = load(slots[i] + row);
            for (int j = 0; j < Columns; ++j) total[i][j] += larger(threshold, x[j]);
        }
    }
    for (int i = 0; i < Slots; ++i) {
        for (int j = 0; j < Columns; ++j) sums[i][first + j] += across(total[i][j]);
    }
}

template <int Slots>
void max_sums_strip(const float* const* slots, const float* const* columns, int64_t column_count,
                    int64_t begin, int64_t end, float* const* sums, int64_t first) {
    int64_t j = 0;
    for (; j + 3 <= column_count; j += 3) {
        max_sums_block<Slots, 3>(slots, columns + j, begin, end, sums, first + j);
    }
    for (; j < column_count; ++j) {
        max_sums_block<Slots, 1>(slots, columns + j, begin, end, sums, first + j);
    }
}

/// Column triples outside and slots inside, so that a tile of slots stays in the second-level cache.
void max_sums(const float* const* slots, int64_t slot_count, const float* const* columns,
              int64_t column_count, int64_t rows, float* const* sums) {
    constexpr int64_t column_step = 3;
    for (int64_t i = 0; i < slot_count; ++i) {
        for (int64_t j = 0; j < column_count; ++j) sums[i][j] = 0;
    }
    for (int64_t begin = 0; begin < rows; begin += chunk) {
        const int64_t end = begin + chunk < rows ? begin + chunk : rows;
        for (int64_t tile = 0; tile < slot_count; tile += slot_tile) {
            const int64_t tile_end = tile + slot_tile < slot_count ? tile + slot_tile : slot_count;
            for (int64_t j = 0; j < column_count; j += column_step) {
                const int64_t width = j + column_step < column_count ? column_step : column_count - j;
                int64_t i = tile;
                for (; i + 4 <= tile_end; i += 4) {
                    max_sums_strip<4>(slots + i, columns + j, width, begin, end, sums + i, j);
                }
                for (; i < tile_end; ++i) {
                    max_sums_strip<1>(slots + i, columns + j, width, begin, end, sums + i, j);
                }
            }
        }
    }
}

float pair_sum(const float* a, const float* x, const float* b, const float* y, int64_t rows) {
    Vec first[2] = {}, second[2] = {};
    for (int64_t row = 0; row < rows; row += row_block) {
        for (int64_t offset = 0; offset < row_block; offset += lanes) {
            const int half = static_cast<int>(offset / lanes % 2);
            first[half] += larger(load(a + row + offset), load(x + row + offset));
            second[half] += larger(load(b + row + offset), load(y + row + offset));
        }
    }
    return across((first[0] + first[1]) + (second[0] + second[1]));
}

/// The Count largest of the m columns at these rows, in descending order.
template <int Count>
inline void largest(const float* const* columns, int m, int64_t row, Vec (&top)[Count]) {
    for (Vec& value : top) value = Vec{};
    for (int column = 0; column < m; ++column) {
        Vec value = load(columns[column] + row);
        for (Vec& place : top) {
            const Vec kept = larger(place, value);
            value = smaller(place, value);
            place = kept;
        }
    }
}

template <int N>
void thresholds_of(const float* const* columns, int m, int64_t rows, float* const* result) {
    for (int64_t row = 0; row < rows; row += lanes) {
        Vec top[N + 1];
        largest(columns, m, row, top);
        const Vec last_kept = top[N - 1], first_dropped = top[N];
        for (int slot = 0; slot < m; ++slot) {
            const Vec own = load(columns[slot] + row);
            store(result[slot] + row, own >= last_kept ? first_dropped : last_kept);
        }
    }
}

template <int N>
double group_sum_of(const float* const* columns, int m, int64_t rows) {
    double sum = 0;
    for (int64_t begin = 0; begin < rows; begin += chunk) {
        const int64_t end = begin + chunk < rows ? begin + chunk : rows;
        Vec total = {};
        for (int64_t row = begin; row < end; row += lanes) {
            Vec top[N];
            largest(columns, m, row, top);
            for (const Vec& value : top) total += value;
        }
        sum += static_cast<double>(across(total));
    }
    return sum;
}

double group_sum_2of4(const float* const* columns, int64_t rows) {
    const float *a = columns[0], *b = columns[1], *c = columns[2], *d = columns[3];
    double sum = 0;
    for (int64_t begin = 0; begin < rows; begin += chunk) {
        const int64_t end = begin + chunk < rows ? begin + chunk : rows;
        Vec total = {};
        for (int64_t row = begin; row < end; row += lanes) {
            const Vec p = load(a + row), q = load(b + row), u = load(c + row), v = load(d + row);
            total += larger(larger(p, q) + larger(u, v), larger(p + q, u + v));
        }
        sum += static_cast<double>(across(total));
    }
    return sum;
}

/// One instance for every N that a pattern can have.
template <typename Numbers>
struct Table;
template <int... I>
struct Table<std::integer_sequence<int, I...>> {
    static constexpr decltype(&thresholds_of<1>) thresholds[] = {thresholds_of<I + 1>...};
    static constexpr decltype(&group_sum_of<1>) group_sum[] = {group_sum_of<I + 1>...};
};
using Patterns = Table<std::make_integer_sequence<int, Pattern::max_m - 1>>;

void thresholds(const float* const* columns, Pattern pattern, int64_t rows, float* const* result) {
    Patterns::thresholds[pattern.n - 1](columns, pattern.m, rows, result);
}

double group_sum(const float* const* columns, Pattern pattern, int64_t rows) {
    if (pattern.n == 2 && pattern.m == 4) return group_sum_2of4(columns, rows);
    return Patterns::group_sum[pattern.n - 1](columns, pattern.m, rows);
}

}  // namespace

extern const Kernels ENMESH_KERNELS;
const Kernels ENMESH_KERNELS = {thresholds, max_sums, pair_sum, group_sum};

}  // namespace enmesh::permutation
