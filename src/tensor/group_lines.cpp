#include "enmesh/tensor/group_lines.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

/// Elements of the axes from `axis` on.
int64_t area_from(const Shape& shape, int axis) {
    int64_t area = 1;
    for (; axis < shape.rank(); ++axis) area *= shape[axis];
    return area;
}

/// One line per (outer, inner), its elements `stride` apart.
GroupLines strided(int64_t outer, int64_t outer_stride, int64_t inner, int64_t inner_stride, int64_t length,
                   int64_t stride) {
    return {outer * inner, length, inner, outer_stride, inner_stride, length, 0, stride};
}

}  // namespace

GroupLines group_lines(const Shape& shape, GroupAxis axis) {
    if (shape.rank() < 2) refuse("{} has too few axes for N:M groups", to_string(shape));
    const bool gradient = axis == GroupAxis::gradient_channels || axis == GroupAxis::positions;
    if (gradient && shape.rank() != 4) {
        const int64_t channels = shape[-1], rows = shape.elements() / channels;
        return axis == GroupAxis::positions ? strided(channels, 1, 1, 0, rows, channels)
                                            : strided(rows, channels, 1, 0, channels, 1);
    }
    const int64_t outer = shape[0], channels = shape[1], area = area_from(shape, 2);
    switch (axis) {
        case GroupAxis::input_channels:
        case GroupAxis::gradient_channels:
            return strided(outer, channels * area, area, 1, channels, area);
        case GroupAxis::output_channels:
            return strided(channels, area, area, 1, outer, channels * area);
        case GroupAxis::positions:
            break;
    }
    return {channels, outer * area, 1, area, 0, area, channels * area, 1};
}

}  // namespace enmesh
