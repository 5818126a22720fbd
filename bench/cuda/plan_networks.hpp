#pragma once

#include <span>
#include <string>

#include "plan.hpp"
#include "timed_products.hpp"

/// The plan that is measured by default, and the plan of a report. Stands on enmesh, not on CUDA.
namespace enmesh::cuda {

/// ResNet-50 (batch 256 and 64), ViT-B, ViT-S and the linear layers of GPT-2 and GPT-2 XL under BDWP 2:4: FF
/// and BP of every layer, 2:4 where the recipe makes it so, WG dense, and the selection of each layer's
/// weights. Convolutions are the matrix products they are, their im2col in memory as a matrix; of a strided
/// BP every phase is a product of its own. Sizes are rounded up to 16. Equal products are one.
Plan network_plan();

/// The products of a report of `enmesh simulate --accel stc-*` (timed_products.hpp), padded as it says.
Plan report_plan(const std::string& report, std::span<const std::string> settings);

}  // namespace enmesh::cuda
