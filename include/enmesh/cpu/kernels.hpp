#pragma once

#include <string>

#include "enmesh/graph/operations.hpp"
#include "enmesh/products/kernel.hpp"

namespace enmesh::cpu {

/// Every product kernel of this build in one list: oneDNN's, then those of enmesh::products. Among kernels that
/// default_order() holds for equal, oneDNN's come first. "oneDNN winograd" and "oneDNN direct" serve
/// convolutions with channels in the lanes, in plain NCHW, and in layouts of the library's own choice
/// (Lanes::any); "oneDNN gemm" serves linear layers, in rows or as maps of one pixel with an N:M operand.
const products::KernelList& product_kernels();

/// The geometry of a convolution of the graph.
products::Conv geometry(const Conv2d& op, const Shape& src, const Shape& weights);

/// "oneDNN 2.6.3".
std::string onednn_version();

}  // namespace enmesh::cpu
