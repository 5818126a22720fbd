#include "cpu/ops/broadcast.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::cpu {
namespace {

/// Stride of each axis of the result in an operand; 0 where the operand has extent 1 or no such axis.
std::array<int64_t, BroadcastRows::max_rank> strides_in(const Shape& result, const Shape& operand) {
    std::array<int64_t, BroadcastRows::max_rank> strides{};
    int64_t stride = 1;
    for (int axis = 1; axis <= operand.rank(); ++axis) {
        strides[static_cast<size_t>(result.rank() - axis)] = operand[-axis] == 1 ? 0 : stride;
        stride *= operand[-axis];
    }
    return strides;
}

}  // namespace

BroadcastRows broadcast_rows(const Shape& result, const Shape& a, const Shape& b) {
    if (result.rank() < 1 || result.rank() > BroadcastRows::max_rank)
        refuse("broadcasting needs rank 1 to 8");
    BroadcastRows rows;
    rows.rank = result.rank() - 1;
    rows.length = result[-1];
    rows.rows = rows.length == 0 ? 0 : result.elements() / rows.length;
    rows.strides_a = strides_in(result, a);
    rows.strides_b = strides_in(result, b);
    rows.step_a = rows.strides_a[static_cast<size_t>(rows.rank)];
    rows.step_b = rows.strides_b[static_cast<size_t>(rows.rank)];
    for (int axis = 0; axis < rows.rank; ++axis) rows.extents[static_cast<size_t>(axis)] = result[axis];
    return rows;
}

}  // namespace enmesh::cpu
