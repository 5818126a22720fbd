#pragma once

#include <cmath>
#include <cstdint>
#include <memory>

#include "enmesh/base/arithmetic.hpp"
#include "enmesh/products/product.hpp"

/// The products behind accel::sat_products().
namespace enmesh::accel::sat::detail {

/// FF and BP: windows of a map meet weights; either may be the indexed operand.
std::unique_ptr<products::Product> sat_window_product(const products::Problem& problem);
/// WG: windows of the feature map meet the out-grad.
std::unique_ptr<products::Product> sat_weight_gradient(const products::Problem& problem);

/// Sizes of parts of a workspace.
inline int64_t aligned(int64_t bytes) { return round_up(bytes, 64); }

/// "A NaN result leaves as 0x7fc00000."
inline float canonical_sum(float value) { return value == value ? value : __builtin_nanf(""); }

}  // namespace enmesh::accel::sat::detail
