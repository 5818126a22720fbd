#pragma once

#include <array>

#include "enmesh/tensor/shape.hpp"

namespace enmesh::cpu {

/// A broadcast of two plain operands as rows along the last axis of the result.
struct BroadcastRows {
    static constexpr int max_rank = 8;
    int64_t rows = 0, length = 0;
    int64_t step_a = 0, step_b = 0;  ///< along a row: 1, or 0 where the operand is broadcast
    int rank = 0;                    ///< of the leading axes
    std::array<int64_t, max_rank> extents{}, strides_a{}, strides_b{};

    int64_t offset_a(int64_t row) const { return offset(row, strides_a); }
    int64_t offset_b(int64_t row) const { return offset(row, strides_b); }

  private:
    int64_t offset(int64_t row, const std::array<int64_t, max_rank>& strides) const {
        int64_t result = 0;
        for (int axis = rank - 1; axis >= 0; --axis) {
            const auto at = static_cast<size_t>(axis);
            result += row % extents[at] * strides[at];
            row /= extents[at];
        }
        return result;
    }
};

BroadcastRows broadcast_rows(const Shape& result, const Shape& a, const Shape& b);

}  // namespace enmesh::cpu
