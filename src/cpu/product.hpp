#pragma once

#include <vector>

#include "cpu/lowering.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::cpu {

/// One FF, BP or WG product of a convolution or a linear layer, by slots.
struct ProductCommand {
    products::Stage stage = products::Stage::ff;
    products::Conv conv;
    bool linear = false;  ///< its maps are row-major matrices
    int src = -1, diff_dst = -1, weights = -1, bias = -1, out = -1;
    bool relu = false;  ///< FF in the image layout: out = max(0, product)
};

/// Poses the product as a products::Problem, chooses who serves it (the executor's ProductProvider if there is
/// one, else a kernel of the list: as planned, as cached, as measured now, or the first that accepts), books
/// workspace and prepared weights, and appends the command.
void add_product(Machine& machine, const Node& node, ProductCommand command);

}  // namespace enmesh::cpu
