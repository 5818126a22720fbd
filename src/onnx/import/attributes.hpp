#pragma once

#include "onnx/import/node_view.hpp"

namespace enmesh::onnx {

/// Refuses an attribute that the operator's importer did not read: the network would compute something else
/// than the file says. Attributes that cannot change what is computed here pass.
void require_all_read(const NodeView& node);

}  // namespace enmesh::onnx
