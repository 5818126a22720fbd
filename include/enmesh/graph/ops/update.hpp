#pragma once

#include <algorithm>

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Stochastic gradient descent with (Nesterov) momentum as PyTorch defines it:
/// g = gradient_scale * gradient + weight_decay * w; v = momentum * v + g; w -= learning_rate * (nesterov ? g
/// + momentum * v : v). Inputs weights, gradient, velocity, learning_rate (scalar), gradient_scale (scalar);
/// outputs weights, velocity, in place.
struct SgdUpdate {
    static constexpr std::string_view name = "sgd_update";
    double momentum = 0.9;
    double weight_decay = 0;
    bool nesterov = false;

    static constexpr auto fields() {
        return std::tuple{field("momentum", &SgdUpdate::momentum),
                          field("weight_decay", &SgdUpdate::weight_decay),
                          field("nesterov", &SgdUpdate::nesterov)};
    }
    bool operator==(const SgdUpdate&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    static std::vector<std::array<int, 2>> in_place() { return {{0, 0}, {1, 2}}; }
};

/// AdamW (Loshchilov, Hutter 2019): decoupled weight decay. Inputs weights, gradient, first, second
/// (moments), learning_rate, gradient_scale, update_count (scalar, 1 at the first update); outputs weights,
/// first, second, in place.
struct AdamWUpdate {
    static constexpr std::string_view name = "adamw_update";
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0;

    static constexpr auto fields() {
        return std::tuple{field("beta1", &AdamWUpdate::beta1), field("beta2", &AdamWUpdate::beta2),
                          field("epsilon", &AdamWUpdate::epsilon),
                          field("weight_decay", &AdamWUpdate::weight_decay)};
    }
    bool operator==(const AdamWUpdate&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    static std::vector<std::array<int, 2>> in_place() { return {{0, 0}, {1, 2}, {2, 3}}; }
};

/// The factor by which gradients are multiplied: gradient_scale, times max_norm / norm where the norm over
/// all gradients (after gradient_scale) is above max_norm. Inputs gradient_scale (scalar), then every
/// gradient; outputs factor, norm.
struct GradientNorm {
    static constexpr std::string_view name = "gradient_norm";
    double max_norm = 0;

    static constexpr auto fields() { return std::tuple{field("max_norm", &GradientNorm::max_norm)}; }
    bool operator==(const GradientNorm&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// accumulator = gradient at the first micro-batch of an update, accumulator + gradient after. In place.
struct Accumulate {
    static constexpr std::string_view name = "accumulate";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Accumulate&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    static std::vector<std::array<int, 2>> in_place() { return {{0, 0}}; }
};

/// average = d * average + (1 - d) * weights with d = min(decay, (1 + t) / (10 + t)) at update t, 1 at the
/// first: a fixed decay would keep the random first weights in it for several 1 / (1 - decay) updates. Inputs
/// average, weights, update_count (scalar); in place.
struct ExponentialAverage {
    static constexpr std::string_view name = "exponential_average";
    double decay = 0.999;

    static constexpr auto fields() { return std::tuple{field("decay", &ExponentialAverage::decay)}; }
    bool operator==(const ExponentialAverage&) const = default;
    double decay_at(double update) const { return std::min(decay, (1 + update) / (10 + update)); }
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    static std::vector<std::array<int, 2>> in_place() { return {{0, 0}}; }
};

}  // namespace enmesh
