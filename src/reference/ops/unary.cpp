#include <cmath>
#include <numbers>

#include "enmesh/base/error.hpp"
#include "reference/run.hpp"

namespace enmesh::reference {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
/// NaN passes, so that it stays visible.
double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

const double gelu_slope = std::sqrt(2.0 / std::numbers::pi);
constexpr double gelu_cubic = 0.044715;

double value(UnaryKind kind, double x, double a, double b) {
    switch (kind) {
        case UnaryKind::none:
            break;
        case UnaryKind::clip:
            return clip(x, a, b);
        case UnaryKind::sigmoid:
            return sigmoid(x);
        case UnaryKind::hard_sigmoid:
            return clip(a * x + b, 0, 1);
        case UnaryKind::hard_swish:
            return x * clip(x / 6 + 0.5, 0, 1);
        case UnaryKind::silu:
            return x * sigmoid(x);
        case UnaryKind::tanh:
            return std::tanh(x);
        case UnaryKind::leaky_relu:
            return x > 0 ? x : a * x;
        case UnaryKind::gelu_tanh:
            return 0.5 * x * (1 + std::tanh(gelu_slope * (x + gelu_cubic * x * x * x)));
        case UnaryKind::erf:
            return std::erf(x);
        case UnaryKind::exp:
            return std::exp(x);
        case UnaryKind::log:
            return std::log(x);
        case UnaryKind::sqrt:
            return std::sqrt(x);
        case UnaryKind::power:
            return std::pow(x, a);
    }
    ENMESH_ASSERT(false && "a kind without a value");
    return x;
}

double derivative(UnaryKind kind, double x, double a, double b) {
    switch (kind) {
        case UnaryKind::none:
            break;
        case UnaryKind::clip:
            return x > a && x < b ? 1 : 0;
        case UnaryKind::sigmoid:
            return sigmoid(x) * sigmoid(-x);
        case UnaryKind::hard_sigmoid:
            return a * x + b > 0 && a * x + b < 1 ? a : 0;
        case UnaryKind::hard_swish:
            return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
        case UnaryKind::silu:
            return sigmoid(x) * (1 + x * sigmoid(-x));
        case UnaryKind::tanh:
            return 1 - std::tanh(x) * std::tanh(x);
        case UnaryKind::leaky_relu:
            return x > 0 ? 1 : a;
        case UnaryKind::gelu_tanh: {
            const double t = std::tanh(gelu_slope * (x + gelu_cubic * x * x * x));
            return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * gelu_slope * (1 + 3 * gelu_cubic * x * x);
        }
        case UnaryKind::erf:
            return 2 * std::numbers::inv_sqrtpi * std::exp(-x * x);
        case UnaryKind::exp:
            return std::exp(x);
        case UnaryKind::log:
            return 1 / x;
        case UnaryKind::sqrt:
            return 0.5 / std::sqrt(x);
        case UnaryKind::power:
            return a * std::pow(x, a - 1);
    }
    ENMESH_ASSERT(false && "a kind without a derivative");
    return x;
}

}  // namespace

template <>
void run(const Unary& op, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i)
        frame.out()[i] = value(op.kind, frame.in(0)[i], op.a, op.b);
}

template <>
void run(const UnaryBackward& op, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i)
        frame.out()[i] = frame.in(1)[i] * derivative(op.kind, frame.in(0)[i], op.a, op.b);
}

}  // namespace enmesh::reference
