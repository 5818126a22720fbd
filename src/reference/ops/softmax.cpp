#include "reference/run.hpp"

#include <algorithm>
#include <cmath>

namespace enmesh::reference {

template <>
void run(const Softmax&, const Frame& frame) {
    const Array& src = frame.in(0);
    const int64_t width = frame.shape(0)[-1];
    for (int64_t begin = 0; begin < src.elements(); begin += width) {
        double largest = src[begin], sum = 0;
        for (int64_t i = 1; i < width; ++i) largest = std::max(largest, src[begin + i]);
        for (int64_t i = 0; i < width; ++i) sum += std::exp(src[begin + i] - largest);
        for (int64_t i = 0; i < width; ++i) frame.out()[begin + i] = std::exp(src[begin + i] - largest) / sum;
    }
}

template <>
void run(const SoftmaxBackward&, const Frame& frame) {
    const Array &dst = frame.in(0), &diff_dst = frame.in(1);
    const int64_t width = frame.shape(0)[-1];
    for (int64_t begin = 0; begin < dst.elements(); begin += width) {
        double projection = 0;
        for (int64_t i = begin; i < begin + width; ++i) projection += dst[i] * diff_dst[i];
        for (int64_t i = begin; i < begin + width; ++i) frame.out()[i] = dst[i] * (diff_dst[i] - projection);
    }
}

}  // namespace enmesh::reference
