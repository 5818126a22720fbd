#pragma once

#include <functional>

#include "cpu/product.hpp"

namespace enmesh::cpu {

/// Makes the dense product that N:M weights could be multiplied by instead, on random operands: each call of
/// what it returns prepares the weights and runs once.
using MakeRival = std::function<std::function<void()>()>;

/// Appends FF or BP of N:M weights by products::PermutedProduct, on bfloat16 maps with channels in the lanes.
/// False, and nothing is appended, where that declines or the dense rival was measured as faster.
bool add_permuted(Machine& machine, const Node& node, const ConvolutionCommand& command,
                  const MakeRival& make_rival);

}  // namespace enmesh::cpu
