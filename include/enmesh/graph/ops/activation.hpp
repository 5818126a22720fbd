#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// dst = max(src, 0).
struct Relu {
    static constexpr std::string_view name = "relu";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Relu&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// diff_src = dst > 0 ? diff_dst : 0. Inputs dst, diff_dst: the forward result suffices, so that src can be
/// freed.
struct ReluBackward {
    static constexpr std::string_view name = "relu_backward";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const ReluBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// dst = src * Phi(src), the exact form with erf (Hendrycks, Gimpel 2016).
struct Gelu {
    static constexpr std::string_view name = "gelu";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Gelu&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Inputs src, diff_dst.
struct GeluBackward {
    static constexpr std::string_view name = "gelu_backward";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const GeluBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
