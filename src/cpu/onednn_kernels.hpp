#pragma once

#include "enmesh/products/kernel.hpp"

namespace enmesh::cpu {

// oneDNN's entries of product_kernels().
products::Kernel onednn_winograd();
products::Kernel onednn_direct();
products::Kernel onednn_gemm();

}  // namespace enmesh::cpu
