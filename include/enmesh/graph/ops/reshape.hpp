#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// The same elements in row-major order under another shape of equal size. Flattening is a Reshape.
struct Reshape {
    static constexpr std::string_view name = "reshape";
    Shape shape;

    static constexpr auto fields() { return std::tuple{field("shape", &Reshape::shape)}; }
    bool operator==(const Reshape&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
