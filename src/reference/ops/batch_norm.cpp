#include "reference/run.hpp"

#include <cmath>

namespace enmesh::reference {

namespace {

/// visit(element) for every element of one channel (axis 1).
template <typename Visit>
void for_each_in_channel(const Shape& shape, int64_t channel, const Visit& visit) {
    const int64_t area = shape.elements() / (shape[0] * shape[1]);
    for (int64_t n = 0; n < shape[0]; ++n) {
        for (int64_t i = 0; i < area; ++i) visit((n * shape[1] + channel) * area + i);
    }
}

}  // namespace

template <>
void run(const BatchNorm& op, const Frame& frame) {
    const Array &src = frame.in(0), &gamma = frame.in(1), &beta = frame.in(2);
    const Shape& shape = src.type.shape;
    const double count = static_cast<double>(shape.elements() / shape[1]);
    for (int64_t c = 0; c < shape[1]; ++c) {
        double mean = frame.in(3)[c], variance = frame.in(4)[c];
        if (op.training) {
            double sum = 0, squares = 0;
            for_each_in_channel(shape, c, [&](int64_t i) { sum += src[i]; });
            mean = sum / count;
            for_each_in_channel(shape, c, [&](int64_t i) { squares += (src[i] - mean) * (src[i] - mean); });
            variance = squares / count;
            Array &running_mean = frame.out(3), &running_variance = frame.out(4);
            running_mean[c] = (1.0 - op.momentum) * running_mean[c] + op.momentum * mean;
            running_variance[c] =
                (1.0 - op.momentum) * running_variance[c] + op.momentum * squares / (count - 1.0);
        }
        const double inverse_deviation = 1.0 / std::sqrt(variance + op.epsilon);
        if (op.training) {
            frame.out(1)[c] = mean;
            frame.out(2)[c] = inverse_deviation;
        }
        for_each_in_channel(shape, c, [&](int64_t i) {
            frame.out(0)[i] = gamma[c] * (src[i] - mean) * inverse_deviation + beta[c];
        });
    }
}

template <>
void run(const BatchNormBackward&, const Frame& frame) {
    const Array &src = frame.in(0), &gamma = frame.in(1), &mean = frame.in(2), &inverse = frame.in(3),
                &diff_dst = frame.in(4);
    const Shape& shape = src.type.shape;
    const double count = static_cast<double>(shape.elements() / shape[1]);
    for (int64_t c = 0; c < shape[1]; ++c) {
        double diff_gamma = 0, diff_beta = 0;
        for_each_in_channel(shape, c, [&](int64_t i) {
            diff_gamma += diff_dst[i] * (src[i] - mean[c]) * inverse[c];
            diff_beta += diff_dst[i];
        });
        for_each_in_channel(shape, c, [&](int64_t i) {
            const double normal = (src[i] - mean[c]) * inverse[c];
            frame.out(0)[i] =
                gamma[c] * inverse[c] * (diff_dst[i] - diff_beta / count - normal * diff_gamma / count);
        });
        frame.out(1)[c] = diff_gamma;
        frame.out(2)[c] = diff_beta;
    }
}

}  // namespace enmesh::reference
