#pragma once

#include <string_view>

#include "enmesh/graph/operations.hpp"

/// Which row of the vector engine's table an operation of the step is charged as.
namespace enmesh::accel {

struct VectorKind {
    std::string_view operation;
    std::string_view row;   ///< of vector_costs()
    bool of_input = false;  ///< the elements are those of input 0, not of output 0
};

/// The row of an element-wise operation whose cost depends on its name alone; nullptr for an operation that
/// is no vector work, that needs its attributes looked at, or that is not known.
const VectorKind* vector_kind(std::string_view operation);

/// The row of a unary function, forward or backward; refuses `none`.
std::string_view unary_row(UnaryKind kind, bool backward);

}  // namespace enmesh::accel
