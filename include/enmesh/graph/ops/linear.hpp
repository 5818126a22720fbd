#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// dst[…, k] = bias[k] + sum over c of src[…, c] * weights[k, c]. Inputs src of rank >= 2, weights K × C,
/// optionally bias K.
struct Linear {
    static constexpr std::string_view name = "linear";
    static constexpr bool product = true;
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Linear&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

/// diff_src of a Linear. Inputs diff_dst, weights (either may be N:M along its output channels).
struct LinearBackwardData {
    static constexpr std::string_view name = "linear_backward_data";
    static constexpr bool product = true;
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const LinearBackwardData&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

/// diff_weights of a Linear. Inputs src, diff_dst (which may be N:M along positions).
struct LinearBackwardWeights {
    static constexpr std::string_view name = "linear_backward_weights";
    static constexpr bool product = true;
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const LinearBackwardWeights&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

}  // namespace enmesh
