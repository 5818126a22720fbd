#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// a * b with NumPy broadcasting.
struct Multiply {
    static constexpr std::string_view name = "multiply";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Multiply&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// a / b with NumPy broadcasting.
struct Divide {
    static constexpr std::string_view name = "divide";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Divide&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// src * factor.
struct Scale {
    static constexpr std::string_view name = "scale";
    double factor = 1;

    static constexpr auto fields() { return std::tuple{field("factor", &Scale::factor)}; }
    bool operator==(const Scale&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
