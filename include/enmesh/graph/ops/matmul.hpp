#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// dst[…, i, j] = sum over l of a[…, i, l] * b[…, l, j], batched over equal leading axes; either may be given
/// transposed.
struct MatMul {
    static constexpr std::string_view name = "matmul";
    static constexpr bool product = true;
    bool transpose_a = false;
    bool transpose_b = false;

    static constexpr auto fields() {
        return std::tuple{field("transpose_a", &MatMul::transpose_a),
                          field("transpose_b", &MatMul::transpose_b)};
    }
    bool operator==(const MatMul&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

}  // namespace enmesh
