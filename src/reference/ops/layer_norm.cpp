#include "reference/run.hpp"

#include <cmath>

namespace enmesh::reference {

template <>
void run(const LayerNorm& op, const Frame& frame) {
    const Array &src = frame.in(0), &gamma = frame.in(1), &beta = frame.in(2);
    const int64_t features = frame.shape(0)[-1], rows = src.elements() / features;
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t begin = row * features;
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < features; ++i) sum += src[begin + i];
        const double mean = sum / static_cast<double>(features);
        for (int64_t i = 0; i < features; ++i) squares += (src[begin + i] - mean) * (src[begin + i] - mean);
        const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(features) + op.epsilon);
        for (int64_t i = 0; i < features; ++i)
            frame.out(0)[begin + i] = gamma[i] * (src[begin + i] - mean) * inverse + beta[i];
        frame.out(1)[row] = mean;
        frame.out(2)[row] = inverse;
    }
}

template <>
void run(const LayerNormBackward&, const Frame& frame) {
    const Array &src = frame.in(0), &gamma = frame.in(1), &diff_dst = frame.in(4);
    const int64_t features = frame.shape(0)[-1], rows = src.elements() / features;
    const double count = static_cast<double>(features);
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t begin = row * features;
        const double mean = frame.in(2)[row], inverse = frame.in(3)[row];
        double sum = 0, projection = 0;
        for (int64_t i = 0; i < features; ++i) {
            const double normal = (src[begin + i] - mean) * inverse, diff = diff_dst[begin + i];
            sum += diff * gamma[i];
            projection += diff * gamma[i] * normal;
            frame.out(1)[i] += diff * normal;
            frame.out(2)[i] += diff;
        }
        for (int64_t i = 0; i < features; ++i) {
            const double normal = (src[begin + i] - mean) * inverse;
            frame.out(0)[begin + i] =
                inverse * (diff_dst[begin + i] * gamma[i] - sum / count - normal * projection / count);
        }
    }
}

}  // namespace enmesh::reference
