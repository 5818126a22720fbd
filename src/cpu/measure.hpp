#pragma once

#include <string>

#include "enmesh/products/problem.hpp"

namespace enmesh::cpu {

/// Times every kernel that accepts the problem (the reference only if it is alone) on random operands,
/// interleaved, and returns the one with the smallest median.
std::string fastest_kernel(const products::Problem& problem);

}  // namespace enmesh::cpu
