#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// src within a border of `value`: `before` and `after` elements along each axis.
struct Pad {
    static constexpr std::string_view name = "pad";
    std::vector<int64_t> before;
    std::vector<int64_t> after;
    double value = 0;

    static constexpr auto fields() {
        return std::tuple{field("before", &Pad::before), field("after", &Pad::after),
                          field("value", &Pad::value)};
    }
    bool operator==(const Pad&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
