#pragma once

#include <string_view>
#include <variant>

#include "enmesh/graph/operations.hpp"

/// Which row of the vector engine's table an operation of the step is charged as.
namespace enmesh::accel {

struct VectorKind {
    std::string_view operation;
    std::string_view row;   ///< of vector_costs()
    bool of_input = false;  ///< the elements are those of input 0, not of output 0
};

/// Operations without a VectorKind: products, reshapes (which move nothing) and those whose attributes
/// workload_of() looks at. Every other operation has one row in vector_kinds.cpp, or that file does not
/// compile.
using WithoutVectorKind =
    std::variant<AdamWUpdate, BatchNorm, Conv2d, Conv2dBackwardData, Conv2dBackwardWeights, EmbeddingBackward,
                 GradientNorm, Linear, LinearBackwardData, LinearBackwardWeights, MatMul, PackNm, Reshape,
                 SelectMask, SgdUpdate, Unary, UnaryBackward>;

/// The row of an element-wise operation whose cost depends on its name alone; nullptr for one of
/// WithoutVectorKind and for an unknown name.
const VectorKind* vector_kind(std::string_view operation);

/// The row of a unary function, forward or backward; refuses `none`.
std::string_view unary_row(UnaryKind kind, bool backward);

}  // namespace enmesh::accel
