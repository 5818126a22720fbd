#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// dst = kept ? src / (1 - probability) : 0, element i kept as a pure function of (seed, step, stream, i):
/// its gradient is the same operation on diff_dst, so that no mask is stored.
struct Dropout {
    static constexpr std::string_view name = "dropout";
    double probability = 0.5;
    int64_t stream = 0;  ///< tells the dropouts of one network apart

    static constexpr auto fields() {
        return std::tuple{field("probability", &Dropout::probability), field("stream", &Dropout::stream)};
    }
    bool operator==(const Dropout&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

}  // namespace enmesh
