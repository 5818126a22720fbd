#pragma once

#include <vector>

#include "onnx/import/converter.hpp"

namespace enmesh::onnx {

/// The largest element over `axes` (ascending), whose extents become 1 with `keep` and go without.
ValueId largest(Converter& c, ValueId src, const std::vector<int64_t>& axes, bool keep);

/// A vector of one number a channel or group, in another shape: a parameter where it is an initialiser.
ValueId vector_as(Converter& c, const NodeView& node, int i, Shape shape);

}  // namespace enmesh::onnx
