#pragma once

#include "bench/kernel_contestants.hpp"

namespace enmesh::cli {

/// contestants_of() in bfloat16: oneDNN's dense product and the permuted N:M kernel, on maps with channels in
/// the lanes. AVX-512 only.
std::vector<Contestant> bf16_contestants_of(const KernelMatch& match);

}  // namespace enmesh::cli
