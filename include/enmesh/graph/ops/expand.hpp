#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// src repeated to `shape` by NumPy broadcasting.
struct Expand {
    static constexpr std::string_view name = "expand";
    Shape shape;
    bool per_image = false;  ///< the outermost extent is the batch: it follows when the batch changes

    static constexpr auto fields() {
        return std::tuple{field("shape", &Expand::shape), field("per_image", &Expand::per_image)};
    }
    bool operator==(const Expand&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
