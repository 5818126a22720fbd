#pragma once

#include "cpu/product.hpp"

namespace enmesh::cpu {

/// FF, BP or WG of a convolution in the channel layout: oneDNN's, or for N:M weights on bfloat16 maps the
/// permuted kernel.
void add_channel_product(Machine& machine, const Node& node, const ConvolutionCommand& command);

}  // namespace enmesh::cpu
