#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// The sum or the mean over `axes` (ascending, none twice). Their extents become 1 with `keep`, and go
/// without.
struct Reduce {
    static constexpr std::string_view name = "reduce";
    std::vector<int64_t> axes;
    bool mean = false;
    bool keep = true;

    static constexpr auto fields() {
        return std::tuple{field("axes", &Reduce::axes), field("mean", &Reduce::mean),
                          field("keep", &Reduce::keep)};
    }
    bool operator==(const Reduce&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

}  // namespace enmesh
