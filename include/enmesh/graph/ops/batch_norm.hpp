#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Batch normalisation over axis 1 (Ioffe, Szegedy 2015). Inputs src, gamma, beta, running_mean,
/// running_variance. Training: outputs dst, mean, inverse_deviation (of the batch, biased variance), and the
/// running statistics updated in place: running = (1 - momentum) * running + momentum * batch, with the
/// unbiased variance as PyTorch does. Otherwise: output dst from the running statistics.
struct BatchNorm {
    static constexpr std::string_view name = "batch_norm";
    double epsilon = 1e-5;
    double momentum = 0.1;
    bool training = true;

    static constexpr auto fields() {
        return std::tuple{field("epsilon", &BatchNorm::epsilon), field("momentum", &BatchNorm::momentum),
                          field("training", &BatchNorm::training)};
    }
    bool operator==(const BatchNorm&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
    std::vector<std::array<int, 2>> in_place() const;
};

/// Inputs src, gamma, mean, inverse_deviation, diff_dst; outputs diff_src, diff_gamma, diff_beta.
struct BatchNormBackward {
    static constexpr std::string_view name = "batch_norm_backward";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const BatchNormBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
