#include "reference/run.hpp"

#include <cmath>
#include <numbers>

namespace enmesh::reference {

template <>
void run(const Relu&, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i) {
        const double x = frame.in(0)[i];
        frame.out()[i] = x < 0.0 ? 0.0 : x;  // NaN passes, so that it stays visible
    }
}

template <>
void run(const ReluBackward&, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i)
        frame.out()[i] = frame.in(0)[i] > 0.0 ? frame.in(1)[i] : 0.0;
}

template <>
void run(const Gelu&, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i) {
        const double x = frame.in(0)[i];
        frame.out()[i] = 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    }
}

template <>
void run(const GeluBackward&, const Frame& frame) {
    const double density_at_zero = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
    for (int64_t i = 0; i < frame.out().elements(); ++i) {
        const double x = frame.in(0)[i];
        const double below = 0.5 * (1.0 + std::erf(x / std::numbers::sqrt2));
        frame.out()[i] = frame.in(1)[i] * (below + x * density_at_zero * std::exp(-0.5 * x * x));
    }
}

}  // namespace enmesh::reference
