#include "reference/run.hpp"

#include <algorithm>
#include <cmath>

#include "enmesh/base/error.hpp"

namespace enmesh::reference {

namespace {

int64_t checked_label(const Array& labels, int64_t row, int64_t classes) {
    const auto label = static_cast<int64_t>(labels[row]);
    if (label < 0 || label >= classes) refuse("label {} of sample {} is not in [0, {})", label, row, classes);
    return label;
}

/// The smoothed target probability of one class.
double target(double smoothing, int64_t classes, bool is_label) {
    return (is_label ? 1.0 - smoothing : 0.0) + smoothing / static_cast<double>(classes);
}

}  // namespace

template <>
void run(const CrossEntropy& op, const Frame& frame) {
    const Array &logits = frame.in(0), &labels = frame.in(1);
    const int64_t rows = frame.shape(0)[0], classes = frame.shape(0)[1];
    double loss = 0;
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t begin = row * classes, label = checked_label(labels, row, classes);
        double largest = logits[begin], sum = 0;
        for (int64_t i = 1; i < classes; ++i) largest = std::max(largest, logits[begin + i]);
        for (int64_t i = 0; i < classes; ++i) sum += std::exp(logits[begin + i] - largest);
        for (int64_t i = 0; i < classes; ++i) {
            const double log_probability = logits[begin + i] - largest - std::log(sum);
            frame.out(1)[begin + i] = std::exp(log_probability);
            const double share = target(op.label_smoothing, classes, i == label);
            if (share > 0) loss -= share * log_probability;
        }
    }
    frame.out(0)[0] = loss / static_cast<double>(rows);
}

template <>
void run(const CrossEntropyBackward& op, const Frame& frame) {
    const Array &probabilities = frame.in(0), &labels = frame.in(1);
    const int64_t rows = frame.shape(0)[0], classes = frame.shape(0)[1];
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t label = checked_label(labels, row, classes);
        for (int64_t i = 0; i < classes; ++i) {
            const double share = target(op.label_smoothing, classes, i == label);
            frame.out()[row * classes + i] =
                (probabilities[row * classes + i] - share) / static_cast<double>(rows);
        }
    }
}

}  // namespace enmesh::reference
