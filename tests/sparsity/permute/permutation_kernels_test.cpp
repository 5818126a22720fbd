#include "sparsity/permute/permutation_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::permutation {
namespace {

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> list{&kernels_portable};
#if defined(__x86_64__)
    if (hardware_isa() >= Isa::avx2) list.push_back(&kernels_avx2);
    if (hardware_isa() >= Isa::avx512) list.push_back(&kernels_avx512);
#endif
    return list;
}

struct Matrix {
    Buffer data;
    std::vector<float*> columns;
    std::vector<const float*> views;

    Matrix(int64_t rows, int64_t count, uint64_t seed)
        : data(static_cast<size_t>(rows * count) * sizeof(float)) {
        Random random(seed);
        // Eighths, so that sums are exact and ties are common.
        for (float& value : data.as<float>()) value = static_cast<float>(random.below(24)) / 8;
        for (int64_t i = 0; i < count; ++i) {
            columns.push_back(data.as<float>().data() + i * rows);
            views.push_back(columns.back());
        }
    }
};

TEST(PermutationKernels, SumsEqualPlainLoops) {
    for (const int64_t rows : {16, 48, 2064}) {
        const Matrix slots(rows, 37, 1), columns(rows, 11, 2);
        for (const Kernels* const k : available()) {
            std::vector<float> sums(37 * 11, -1);
            std::vector<float*> to;
            for (int i = 0; i < 37; ++i) to.push_back(sums.data() + static_cast<ptrdiff_t>(i) * 11);
            k->max_sums(slots.views.data(), 37, columns.views.data(), 11, rows, to.data());
            for (int i = 0; i < 37; ++i) {
                for (int j = 0; j < 11; ++j) {
                    float want = 0;
                    for (int64_t r = 0; r < rows; ++r)
                        want += std::max(slots.columns[i][r], columns.columns[j][r]);
                    ASSERT_EQ(sums[static_cast<size_t>(i) * 11 + j], want) << rows << " " << i << " " << j;
                }
            }
            float want = 0;
            for (int64_t r = 0; r < rows; ++r) {
                want += std::max(slots.columns[0][r], columns.columns[1][r]) +
                        std::max(slots.columns[2][r], columns.columns[3][r]);
            }
            EXPECT_EQ(k->pair_sum(slots.views[0], columns.views[1], slots.views[2], columns.views[3], rows),
                      want);
        }
    }
}

/// For every pattern: a group's sum, and that threshold and column tell what any other column in a slot would
/// keep.
TEST(PermutationKernels, ThresholdsTellWhatASwapKeeps) {
    constexpr int64_t rows = 32;
    for (const Kernels* const k : available()) {
        for (int m = 2; m <= Pattern::max_m; ++m) {
            const Matrix group(rows, m, 3), other(rows, 1, 4);
            Matrix thresholds(rows, m, 5);
            for (int n = 1; n < m; ++n) {
                const Pattern pattern{n, m};
                const auto kept_of_row = [&](const std::vector<const float*>& columns, int64_t row) {
                    std::vector<float> values;
                    for (const float* const column : columns) values.push_back(column[row]);
                    std::sort(values.begin(), values.end(), std::greater<>());
                    float sum = 0;
                    for (int i = 0; i < n; ++i) sum += values[i];
                    return sum;
                };
                double want = 0;
                for (int64_t row = 0; row < rows; ++row)
                    want += static_cast<double>(kept_of_row(group.views, row));
                ASSERT_EQ(k->group_sum(group.views.data(), pattern, rows), want) << to_string(pattern);
                k->thresholds(group.views.data(), pattern, rows, thresholds.columns.data());
                for (int slot = 0; slot < m; ++slot) {
                    std::vector<const float*> swapped = group.views;
                    swapped[slot] = other.views[0];
                    for (int64_t row = 0; row < rows; ++row) {
                        const float threshold = thresholds.columns[slot][row];
                        const float difference = std::max(threshold, other.views[0][row]) -
                                                 std::max(threshold, group.views[slot][row]);
                        ASSERT_EQ(kept_of_row(swapped, row) - kept_of_row(group.views, row), difference)
                            << to_string(pattern);
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace enmesh::permutation
