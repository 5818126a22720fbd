#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// The inputs one after the other along `axis`.
struct Concat {
    static constexpr std::string_view name = "concat";
    int64_t axis = 1;

    static constexpr auto fields() { return std::tuple{field("axis", &Concat::axis)}; }
    bool operator==(const Concat&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
