#pragma once

#include <memory>
#include <string>

#include "enmesh/products/kernel.hpp"
#include "products/permuted/permuted_loops.hpp"

namespace enmesh::products {

/// The permuted kernel: an N:M product, FF or BP, of maps with 16 channels in the vector lanes (row-major
/// matrices for linear()). The map that is read (src, diff_dst) holds bfloat16, the one that is written (dst,
/// diff_src) float32. prepare() rounds compact weights to bfloat16, ties to even, NaN to NaN. FF's bias is
/// added last; there is no relu.
///
/// Arithmetic: an output is one float32 sum, by taps in ascending order, in each by channels in ascending
/// order, of each pair of kept weights the second before the first. Products of two bfloat16 are exact in
/// float32, so loops that round every addition once give the same bits: "portable" and "avx512", fused or
/// not. They differ where a product under- or overflows, and "avx512_bf16" differs further: vdpbf16ps takes
/// denormal inputs for zeros, flushes denormal sums, knows no other rounding than to nearest, and processors
/// are free in how they round inside a pair. Two paddings can turn an infinity into NaN, nothing else: a lane
/// that keeps fewer weights of a block than another gets zeros at channels that it keeps anyway, and a pixel
/// outside the map is a zero that meets the weight, so infinite weights make NaN at the border and NaN
/// spreads along it.
///
/// Product::kernel() is "permuted bf16 " and the loops that serve it: avx512_bf16, avx512 or portable.
std::unique_ptr<Product> plan_permuted_on(const PermutedLoops& loops, const Problem& problem);
/// On the loops for an instruction set, with bfloat16 dot products where the processor has them. Refuses an
/// impossible problem and one that is declined.
std::unique_ptr<Product> plan_permuted(const Problem& problem, const PlanOptions& options = {});
const PermutedLoops& permuted_loops(Isa isa);

/// Why it cannot serve the stage, sparsity or shape, or empty; lanes and numbers are not looked at.
std::string permuted_declines(const Problem& problem);

}  // namespace enmesh::products
