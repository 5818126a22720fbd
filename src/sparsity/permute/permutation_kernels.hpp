#pragma once

#include <cstdint>

#include "enmesh/base/isa.hpp"
#include "enmesh/base/pattern.hpp"

// What a group keeps of a row is the sum of its n largest magnitudes. With one member taken out, let t be the
// n-th largest of the m-1 that stay: the group with x in that place keeps (sum of the n-1 largest that stay)
// + max(t, x). So a slot's worth to any column is, up to a constant, the sum over rows of max(threshold[row],
// column[row]): swaps cost one max and one add a row. Columns and thresholds are float magnitudes, 64-byte
// aligned, zero-padded to a multiple of row_block rows.

namespace enmesh::permutation {

constexpr int64_t row_block = 16;

struct Kernels {
    /// thresholds[i][row] = the n-th largest of the group's other columns.
    void (*thresholds)(const float* const* columns, Pattern pattern, int64_t rows, float* const* thresholds);
    /// sums[i][j] = sum over rows of max(slots[i], columns[j]).
    void (*max_sums)(const float* const* slots, int64_t slot_count, const float* const* columns,
                     int64_t column_count, int64_t rows, float* const* sums);
    /// sum over rows of max(a, x) + max(b, y).
    float (*pair_sum)(const float* a, const float* x, const float* b, const float* y, int64_t rows);
    /// sum over rows of the n largest of the m columns.
    double (*group_sum)(const float* const* columns, Pattern pattern, int64_t rows);
};

/// The kernels of isa().
const Kernels& kernels();

extern const Kernels kernels_portable;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace enmesh::permutation
