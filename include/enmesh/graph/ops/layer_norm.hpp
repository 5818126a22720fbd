#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Layer normalisation over the last axis (Ba, Kiros, Hinton 2016). Inputs src, gamma, beta;
/// outputs dst, mean, inverse_deviation (one per row).
struct LayerNorm {
    static constexpr std::string_view name = "layer_norm";
    double epsilon = 1e-6;

    static constexpr auto fields() { return std::tuple{field("epsilon", &LayerNorm::epsilon)}; }
    bool operator==(const LayerNorm&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Inputs src, gamma, mean, inverse_deviation, diff_dst; outputs diff_src, diff_gamma, diff_beta.
struct LayerNormBackward {
    static constexpr std::string_view name = "layer_norm_backward";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const LayerNormBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
