#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/compare.hpp"
#include "enmesh/products/kernel.hpp"

namespace enmesh::products {

/// Uniform in [-1, 1); the same on every call.
Buffer random_floats(int64_t count);

/// Runs each in turn, a first time untimed, and returns the index of the one with the smallest median.
size_t fastest_of(const std::vector<std::function<void()>>& contestants);

/// Random operands of one problem, in the memory layout that it names. Values are float32; where the problem
/// reads bfloat16, they are ones that bfloat16 has too, and the maps are there by their bits as well.
struct TrialOperands {
    explicit TrialOperands(const Problem& problem);

    Problem problem;
    Buffer src, diff_dst, weights, bias;
    Buffer src_bf16, diff_dst_bf16;  ///< empty unless the problem reads bfloat16
    Packed packed;                   ///< the sparse operand, if there is one
};

/// One planned product with its own prepared weights, workspace and output. Refers to the operands, which must
/// outlive it.
class KernelTrial {
  public:
    /// With `bias` FF adds operands.bias; the product must have been planned so.
    KernelTrial(const TrialOperands& operands, std::unique_ptr<Product> product, bool bias = false);

    const Product& product() const { return *product_; }
    std::span<const float> out() const { return out_.as<const float>(); }
    /// Both return seconds of wall time.
    double prepare();
    double run();

  private:
    const TrialOperands& operands_;
    std::unique_ptr<Product> product_;
    Buffer prepared_, workspace_, out_, dense_;
    Buffer src_, dst_;  ///< maps larger than the problem's own, of a kernel that pads them
    bool bias_;
};

/// Times what a step asks of every one of `kernels` (the oracle only if it is alone): the product and, where
/// `weights_change` from step to step, preparing them. On random operands, interleaved; returns the one with
/// the smallest median. Times nothing where there is one alone.
const Kernel* fastest_kernel(const std::vector<const Kernel*>& kernels, const Problem& problem,
                             bool weights_change, const PlanOptions& options = {});

/// Compares outputs of a product at random places with sums in double over the operands, one obvious loop
/// each: what the reference kernel would take minutes for in full. Not for Lanes::any.
Comparison spot_check(const TrialOperands& operands, std::span<const float> out, double tolerance,
                      int samples = 256);

}  // namespace enmesh::products
