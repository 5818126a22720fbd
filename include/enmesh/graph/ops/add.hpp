#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// a + b with NumPy broadcasting. Also sums the gradients of a value that has several uses.
struct Add {
    static constexpr std::string_view name = "add";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Add&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// a - b with NumPy broadcasting.
struct Subtract {
    static constexpr std::string_view name = "subtract";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Subtract&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// The shape that NumPy broadcasting gives; refuses shapes that do not fit.
Shape broadcast_shape(const Shape& a, const Shape& b);

}  // namespace enmesh
