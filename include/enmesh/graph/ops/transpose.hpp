#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// dst axis i is src axis order[i].
struct Transpose {
    static constexpr std::string_view name = "transpose";
    std::vector<int64_t> order;

    static constexpr auto fields() { return std::tuple{field("order", &Transpose::order)}; }
    bool operator==(const Transpose&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
