#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Linear&, const Frame& frame) {
    const Array &src = frame.in(0), &weights = frame.in(1);
    const int64_t outputs = frame.shape(1)[0], inputs = frame.shape(1)[1], rows = src.elements() / inputs;
    for_each_stored(weights, [&](int64_t at, double weight) {
        const int64_t k = at / inputs, c = at % inputs;
        for (int64_t row = 0; row < rows; ++row)
            frame.out()[row * outputs + k] += weight * src[row * inputs + c];
    });
    if (frame.inputs.size() < 3) return;
    for (int64_t i = 0; i < frame.out().elements(); ++i) frame.out()[i] += frame.in(2)[i % outputs];
}

template <>
void run(const LinearBackwardData&, const Frame& frame) {
    const Array &diff_dst = frame.in(0), &weights = frame.in(1);
    const int64_t outputs = frame.shape(1)[0], inputs = frame.shape(1)[1];
    const int64_t rows = diff_dst.elements() / outputs;
    if (diff_dst.type.dense()) {
        for_each_stored(weights, [&](int64_t at, double weight) {
            const int64_t k = at / inputs, c = at % inputs;
            for (int64_t row = 0; row < rows; ++row)
                frame.out()[row * inputs + c] += weight * diff_dst[row * outputs + k];
        });
        return;
    }
    const std::vector<double> dense = densified(weights);
    for_each_stored(diff_dst, [&](int64_t at, double diff) {
        const int64_t row = at / outputs, k = at % outputs;
        for (int64_t c = 0; c < inputs; ++c)
            frame.out()[row * inputs + c] += diff * dense[static_cast<size_t>(k * inputs + c)];
    });
}

template <>
void run(const LinearBackwardWeights&, const Frame& frame) {
    const Array &src = frame.in(0), &diff_dst = frame.in(1);
    const int64_t outputs = frame.shape(1)[-1], inputs = frame.shape(0)[-1];
    for_each_stored(diff_dst, [&](int64_t at, double diff) {
        const int64_t row = at / outputs, k = at % outputs;
        for (int64_t c = 0; c < inputs; ++c) frame.out()[k * inputs + c] += diff * src[row * inputs + c];
    });
}

}  // namespace enmesh::reference
