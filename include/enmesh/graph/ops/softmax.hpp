#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Softmax over the last axis.
struct Softmax {
    static constexpr std::string_view name = "softmax";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Softmax&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// diff_src = dst * (diff_dst - sum(dst * diff_dst)). Inputs dst, diff_dst.
struct SoftmaxBackward {
    static constexpr std::string_view name = "softmax_backward";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const SoftmaxBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
