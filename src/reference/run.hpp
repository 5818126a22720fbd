#pragma once

#include "enmesh/graph/operations.hpp"
#include "reference/frame.hpp"

namespace enmesh::reference {

/// Computes one node. Specialised for each operation, in ops/ under the same file name as in src/graph/ops:
/// the executor calls it for every alternative of AnyOperation, and a missing specialisation fails to link.
template <typename Op>
requires is_listed<Op, AnyOperation>
void run(const Op& op, const Frame& frame);

}  // namespace enmesh::reference
