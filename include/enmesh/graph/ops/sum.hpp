#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Sums over every axis but one: the gradient of a bias along that axis. Result rank 1.
struct SumExcept {
    static constexpr std::string_view name = "sum_except";
    int64_t axis = 1;

    static constexpr auto fields() { return std::tuple{field("axis", &SumExcept::axis)}; }
    bool operator==(const SumExcept&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// Sums over the axes along which `shape` was broadcast: the gradient of broadcasting.
struct SumTo {
    static constexpr std::string_view name = "sum_to";
    Shape shape;

    static constexpr auto fields() { return std::tuple{field("shape", &SumTo::shape)}; }
    bool operator==(const SumTo&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
