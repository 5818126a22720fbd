#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/products/product.hpp"

namespace enmesh::cpu {

/// Uniform in [-1, 1).
Buffer random_floats(int64_t count);
/// The same as bfloat16.
Buffer random_bf16(int64_t count);

/// Runs each in turn, a first time untimed, and returns the index of the one with the smallest median.
size_t fastest_of(const std::vector<std::function<void()>>& contestants);

enum class TrialNumbers { f32, bf16 };

/// Random operands of one problem: float32, or float32 that bfloat16 has too.
struct TrialOperands {
    explicit TrialOperands(const products::Problem& problem, TrialNumbers numbers = TrialNumbers::f32);

    products::Problem problem;
    Buffer src, diff_dst, weights;
    products::Packed packed;  ///< the sparse operand, if there is one
};

/// One kernel with its own prepared weights, workspace and output.
class KernelTrial {
  public:
    KernelTrial(const TrialOperands& operands, std::string_view kernel);

    const products::Product& product() const { return *product_; }
    std::span<const float> out() const { return out_.as<const float>(); }
    /// Both return seconds of wall time.
    double prepare();
    double run();

  private:
    const TrialOperands& operands_;
    std::unique_ptr<products::Product> product_;
    Buffer prepared_, workspace_, out_;
};

/// Times what a step asks of every kernel that accepts the problem (the reference only if it is alone): the
/// product and, where `weights_change` from step to step, preparing them. On random operands, interleaved;
/// returns the one with the smallest median.
std::string fastest_kernel(const products::Problem& problem, bool weights_change);

}  // namespace enmesh::cpu
