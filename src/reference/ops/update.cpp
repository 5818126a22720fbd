#include "reference/run.hpp"

#include <cmath>

namespace enmesh::reference {

template <>
void run(const SgdUpdate& op, const Frame& frame) {
    const Array& gradient = frame.in(1);
    Array &weights = frame.out(0), &velocity = frame.out(1);
    const double learning_rate = frame.in(3)[0], scale = frame.in(4)[0];
    for (int64_t i = 0; i < weights.elements(); ++i) {
        const double g = scale * gradient[i] + op.weight_decay * weights[i];
        velocity[i] = op.momentum * velocity[i] + g;
        weights[i] -= learning_rate * (op.nesterov ? g + op.momentum * velocity[i] : velocity[i]);
    }
}

template <>
void run(const AdamWUpdate& op, const Frame& frame) {
    const Array& gradient = frame.in(1);
    Array &weights = frame.out(0), &first = frame.out(1), &second = frame.out(2);
    const double learning_rate = frame.in(4)[0], scale = frame.in(5)[0], count = frame.in(6)[0];
    const double first_bias = 1.0 - std::pow(op.beta1, count), second_bias = 1.0 - std::pow(op.beta2, count);
    for (int64_t i = 0; i < weights.elements(); ++i) {
        const double g = scale * gradient[i];
        first[i] = op.beta1 * first[i] + (1.0 - op.beta1) * g;
        second[i] = op.beta2 * second[i] + (1.0 - op.beta2) * g * g;
        weights[i] -= learning_rate * op.weight_decay * weights[i];
        weights[i] -=
            learning_rate * (first[i] / first_bias) / (std::sqrt(second[i] / second_bias) + op.epsilon);
    }
}

template <>
void run(const GradientNorm& op, const Frame& frame) {
    const double scale = frame.in(0)[0];
    double squares = 0;
    for (size_t input = 1; input < frame.inputs.size(); ++input) {
        for (const double g : frame.in(input).data) squares += scale * g * (scale * g);
    }
    const double norm = std::sqrt(squares);
    frame.out(0)[0] = norm > op.max_norm ? scale * op.max_norm / norm : scale;
    frame.out(1)[0] = norm;
}

template <>
void run(const Accumulate&, const Frame& frame) {
    Array& sum = frame.out();
    for (int64_t i = 0; i < sum.elements(); ++i)
        sum[i] = frame.context.micro_batch == 0 ? frame.in(1)[i] : sum[i] + frame.in(1)[i];
}

template <>
void run(const ExponentialAverage& op, const Frame& frame) {
    Array& average = frame.out();
    const double decay = op.decay_at(frame.in(2)[0]);
    for (int64_t i = 0; i < average.elements(); ++i)
        average[i] = decay * average[i] + (1.0 - decay) * frame.in(1)[i];
}

}  // namespace enmesh::reference
