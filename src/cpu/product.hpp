#pragma once

#include "cpu/lowering.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::cpu {

/// One FF, BP or WG product of a convolution (or of a linear layer seen as one), by slots.
struct ConvolutionCommand {
    products::Stage stage = products::Stage::ff;
    products::Conv conv;
    Layout src_layout;  ///< of src, or of out for BP
    int src = -1, diff_dst = -1, weights = -1, bias = -1, out = -1;
    bool relu = false;  ///< FF in the image layout: out = max(0, product)
};

products::Conv geometry(const Conv2d& op, const Shape& src, const Shape& weights);

/// Chooses who serves it (oneDNN in the channel layout, enmesh::products in the image layout or for N:M
/// operands), books workspace and prepared weights, and appends the command.
void add_convolution(Machine& machine, const Node& node, const ConvolutionCommand& command);

/// The same for a linear layer with an N:M operand, on row-major matrices: enmesh::products, or a dense gemm
/// that fills the zeros in (matrix_product.hpp).
void add_matrix_product(Machine& machine, const Node& node, const ConvolutionCommand& command);

}  // namespace enmesh::cpu
