#pragma once

#include <string_view>
#include <vector>

#include "onnx/import/constant.hpp"
#include "onnx/import/node_view.hpp"
#include "onnx/import/shape_rules.hpp"

namespace enmesh::onnx {

/// Whether fold() knows the operator.
bool foldable(std::string_view op_type);
/// Every operator that fold() knows.
std::vector<std::string_view> foldable_operators();

/// Runs an operator of shape arithmetic on known inputs (nullptr: an optional one that is absent). `budget`
/// is how many elements may still be made while the file is read: what keeps hostile files from filling the
/// memory.
std::vector<Constant> fold(const NodeView& node, const std::vector<const Constant*>& inputs, int64_t& budget);

}  // namespace enmesh::onnx
