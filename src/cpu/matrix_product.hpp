#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "enmesh/products/product.hpp"

namespace enmesh::cpu {

/// products::candidates; for a linear layer with an N:M operand also "gemm", oneDNN's dense product with the
/// zeros filled in, behind the kernels that skip zeros and before the others that fill them in.
std::vector<products::Candidate> kernel_candidates(const products::Problem& problem);

/// products::plan, with that kernel as well. Its bits may depend on the number of threads.
std::unique_ptr<products::Product> plan_kernel(const products::Problem& problem, std::string_view kernel);

}  // namespace enmesh::cpu
