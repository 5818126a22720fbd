#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "enmesh/products/product.hpp"
#include "products/permuted/permuted_loops.hpp"

namespace enmesh::products {

/// An N:M product, FF or BP, of maps whose channels lie in the vector lanes: element (n, c, pixel) of a map
/// with C channels lies at ((n * C / 16 + c / 16) * H * W + pixel) * 16 + c % 16 (oneDNN's nChw16c; row-major
/// matrices for linear()). The map that is read (src, diff_dst) holds bfloat16, the one that is written (dst,
/// diff_src) float32. Problem::block is ignored.
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
class PermutedProduct {
  public:
    virtual ~PermutedProduct() = default;

    /// "permuted bf16 " and the loops that serve it: avx512_bf16, avx512 or portable.
    virtual std::string_view kernel() const = 0;
    virtual size_t prepared_bytes() const = 0;
    virtual size_t workspace_bytes() const = 0;
    /// Rounds compact weights (weights_shape of the problem) to bfloat16, ties to even, NaN to NaN, and lays
    /// them out for the loops; once per weight update.
    virtual void prepare(const PackedView& weights, std::span<std::byte> prepared) const = 0;

    struct Arguments {
        const uint16_t* src;                  ///< bits of src (FF) or diff_dst (BP)
        std::span<const std::byte> prepared;  ///< what prepare() wrote
        const float* bias = nullptr;          ///< FF only: K values, added last
        float* out;                           ///< dst or diff_src, overwritten
        std::span<std::byte> workspace;       ///< workspace_bytes(); contents need not survive
    };
    /// Allocates nothing; the bits of the result do not depend on the number of threads.
    virtual void run(const Arguments& arguments) const = 0;
};

/// Why there is no such product, or empty.
std::string permuted_declines(const Problem& problem);
/// Refuses an impossible problem and one that is declined.
std::unique_ptr<PermutedProduct> plan_permuted(const Problem& problem, const PlanOptions& options = {});

/// The loops for an instruction set, with bfloat16 dot products where the processor has them.
const PermutedLoops& permuted_loops(Isa isa);
std::unique_ptr<PermutedProduct> plan_permuted_on(const PermutedLoops& loops, const Problem& problem);

}  // namespace enmesh::products
