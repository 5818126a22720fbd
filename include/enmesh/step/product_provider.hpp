#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "enmesh/products/product.hpp"

namespace enmesh {

/// out[m][n] = A · B, dense, row-major; a transposed operand lies as [k][m] or [n][k].
struct MatrixArguments {
    bool transpose_a = false, transpose_b = false;
    int64_t m = 0, n = 0, k = 0;
    const float* a = nullptr;
    const float* b = nullptr;
    float* out = nullptr;
};

/// Stands in for an executor's own matrix products, so that another machine's arithmetic can be trained with,
/// while everything between the products stays where it is. Thread-safe.
class ProductProvider {
  public:
    virtual ~ProductProvider() = default;
    virtual std::string name() const = 0;
    /// The FF, BP or WG of a convolution or linear layer. Refuses what it cannot compute.
    virtual std::unique_ptr<products::Product> plan(const products::Problem& problem) const = 0;
    /// One product of two feature maps (attention).
    virtual void multiply(const MatrixArguments& arguments) const = 0;
    /// Rounds values to what a product would read: N:M out-grads are selected after it, and so are weights
    /// that are packed outside the update.
    virtual void round(std::span<const float> from, std::span<float> to) const = 0;
};

}  // namespace enmesh
