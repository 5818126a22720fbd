#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "onnx/import/constant.hpp"
#include "onnx/import/node_view.hpp"

/// What operators that move elements do to shapes, for feature maps and for known values alike.
namespace enmesh::onnx {

/// Reads a list of integers such as axes or a shape.
std::vector<int64_t> integers_of(const Constant& constant, std::string_view what);

/// Where a slice of an axis lies, by ONNX's clamping rules.
struct SliceRange {
    int64_t begin = 0, count = 0, step = 1;
};
/// What Slice is told: by inputs, before operator set 10 by attributes.
struct SliceLists {
    std::vector<int64_t> starts, ends, axes, steps;
};
SliceLists slice_lists(const NodeView& node, const Constant* starts, const Constant* ends,
                       const Constant* axes, const Constant* steps);
SliceRange slice_range(int64_t extent, int64_t start, int64_t end, int64_t step);

/// Reshape's target with 0 and -1 filled in.
Shape reshape_target(const Shape& src, const std::vector<int64_t>& target, bool allow_zero);
/// Extents of Squeeze and Unsqueeze; no axes means every extent of 1.
Shape squeezed(const Shape& src, const std::optional<std::vector<int64_t>>& axes);
Shape unsqueezed(const Shape& src, std::vector<int64_t> axes);
/// Extents of each part along an axis of Split.
std::vector<int64_t> split_extents(const NodeView& node, const Constant* sizes, int64_t extent);

}  // namespace enmesh::onnx
