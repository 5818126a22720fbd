#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Mean over the batch of the cross-entropy between softmax(logits) and the label, smoothed: the target is
/// (1 - label_smoothing) on the label plus label_smoothing / classes everywhere (Szegedy et al. 2016).
/// Inputs logits N × classes, labels N (i32); outputs loss (scalar), probabilities N × classes.
struct CrossEntropy {
    static constexpr std::string_view name = "cross_entropy";
    double label_smoothing = 0;

    static constexpr auto fields() {
        return std::tuple{field("label_smoothing", &CrossEntropy::label_smoothing)};
    }
    bool operator==(const CrossEntropy&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// The gradient of the mean loss with respect to the logits. Inputs probabilities, labels.
struct CrossEntropyBackward {
    static constexpr std::string_view name = "cross_entropy_backward";
    double label_smoothing = 0;

    static constexpr auto fields() {
        return std::tuple{field("label_smoothing", &CrossEntropyBackward::label_smoothing)};
    }
    bool operator==(const CrossEntropyBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
