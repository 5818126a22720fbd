#include <cmath>

#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const CrossEntropy& op) {
    const int logits = machine.in_plain(node.inputs[0]), labels = machine.slot_of(node.inputs[1]);
    const int loss = machine.out(node.outputs[0]), probabilities = machine.out(node.outputs[1]);
    const Shape shape = machine.slot(logits).type.shape;
    const int64_t rows = shape[0], classes = shape[1];
    const double smoothing = op.label_smoothing;
    machine.add(
        node, Kind::other, {logits, labels}, {loss, probabilities},
        [&machine, logits, labels, loss, probabilities, rows, classes, smoothing](const RunContext&) {
            const int32_t* const label = static_cast<const int32_t*>(machine.data(labels));
            double total = 0;
            for (int64_t row = 0; row < rows; ++row) {
                if (label[row] < 0 || label[row] >= classes) {
                    refuse("label {} of image {} in the batch is outside [0, {})", label[row], row, classes);
                }
                const float* const x = machine.f32(logits) + row * classes;
                simd().softmax(x, machine.f32(probabilities) + row * classes, classes);
                double largest = static_cast<double>(x[0]), sum = 0, mean = 0;
                for (int64_t i = 1; i < classes; ++i) largest = std::fmax(largest, static_cast<double>(x[i]));
                for (int64_t i = 0; i < classes; ++i) {
                    sum += std::exp(static_cast<double>(x[i]) - largest);
                    mean += static_cast<double>(x[i]) / static_cast<double>(classes);
                }
                const double log_sum = largest + std::log(sum);
                total += log_sum - (1 - smoothing) * static_cast<double>(x[label[row]]) - smoothing * mean;
            }
            machine.f32(loss)[0] = static_cast<float>(total / static_cast<double>(rows));
        });
}

template <>
void lower(Machine& machine, const Node& node, const CrossEntropyBackward& op) {
    const int probabilities = machine.slot_of(node.inputs[0]), labels = machine.slot_of(node.inputs[1]);
    const int diff = machine.out(node.outputs[0]);
    const Shape shape = machine.slot(probabilities).type.shape;
    const int64_t rows = shape[0], classes = shape[1];
    const float smoothing = static_cast<float>(op.label_smoothing);
    machine.add(node, Kind::other, {probabilities, labels}, {diff},
                [&machine, probabilities, labels, diff, rows, classes, smoothing](const RunContext&) {
                    const int32_t* const label = static_cast<const int32_t*>(machine.data(labels));
                    const float uniform = smoothing / static_cast<float>(classes);
                    for (int64_t row = 0; row < rows; ++row) {
                        const float* const p = machine.f32(probabilities) + row * classes;
                        float* const d = machine.f32(diff) + row * classes;
                        for (int64_t i = 0; i < classes; ++i) {
                            const float target = uniform + (i == label[row] ? 1.0F - smoothing : 0.0F);
                            d[i] = (p[i] - target) / static_cast<float>(rows);
                        }
                    }
                });
}

}  // namespace enmesh::cpu
