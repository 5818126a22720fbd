#pragma once

#include <memory>

#include "enmesh/step/product_provider.hpp"

namespace enmesh::accel::sat {

/// SAT's arithmetic at software speed (docs/sat.md, "Arithmetic"): operands rounded to binary16, each output
/// one binary32 chain over the kept products in the STCE's order (FF and BP: kernel row, kernel column,
/// channel; WG: image, row, column), so that its bits are those of run_stepped on the same operands. BP of a
/// strided convolution runs in its phases; a bias is added to the finished chain in binary32.
///
/// Refuses N:M operands whose channels are not a multiple of M: SAT packs whole groups.
std::shared_ptr<const ProductProvider> sat_products();

}  // namespace enmesh::accel::sat
