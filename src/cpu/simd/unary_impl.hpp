// Part of simd_impl.hpp: the functions of UnaryKind, with its helpers and under its rules.
namespace enmesh::cpu {
namespace {

/// NaN passes, so that it stays visible.
inline V clipped(V x, float low, float high) {
    return select(x < low, splat(low), select(x > high, splat(high), x));
}

inline V logistic(V x) { return 1.0F / (1.0F + exponential(-x)); }

/// By its series near zero, where the difference of exponentials would cancel.
inline V hyperbolic_tangent(V x) {
    const V q = x * x;
    const V near = x * (1.0F + q * (-1.0F / 3 + q * (2.0F / 15 + q * (-17.0F / 315))));
    const V far = 1.0F - 2.0F / (1.0F + exponential(x + x));
    return select((x < 0.25F) & (x > -0.25F), near, far);
}

/// Overflows to infinity, which exponential() alone does not.
inline V unbounded_exponential(V x) {
    const V root = exponential(x * 0.5F);
    return root * root;
}

constexpr float gelu_slope = 0.79788456F, gelu_cubic = 0.044715F;
/// Twice the argument of gelu_tanh's tanh: (1 + tanh(u)) / 2 = logistic(2 u).
inline V gelu_argument(V x) { return 2.0F * gelu_slope * (x + gelu_cubic * x * x * x); }

/// Functions that the vector extensions lack, element by element.
template <typename Body>
inline V each(V x, const Body& body) {
    for (int l = 0; l < width; ++l) x[l] = body(x[l]);
    return x;
}

inline V powered(V x, float exponent) {
    if (exponent == 2.0F) return x * x;
    if (exponent == 1.0F) return x;
    if (exponent == 0.0F) return splat(1.0F);
    if (exponent == -1.0F) return 1.0F / x;
    if (exponent == 3.0F) return x * x * x;
    return each(x, [&](float v) { return __builtin_powf(v, exponent); });
}

void unary(UnaryKind kind, float a, float b, const float* x, float* y, int64_t count) {
    const auto map = [&](const auto& f) { map_run(x, y, count, [&](V v, int64_t) { return f(v); }); };
    switch (kind) {
        case UnaryKind::none:
            break;
        case UnaryKind::clip:
            return map([&](V v) { return clipped(v, a, b); });
        case UnaryKind::sigmoid:
            return map([](V v) { return logistic(v); });
        case UnaryKind::hard_sigmoid:
            return map([&](V v) { return clipped(a * v + b, 0.0F, 1.0F); });
        case UnaryKind::hard_swish:
            return map([](V v) { return v * clipped(v * (1.0F / 6) + 0.5F, 0.0F, 1.0F); });
        case UnaryKind::silu:
            return map([](V v) { return v * logistic(v); });
        case UnaryKind::tanh:
            return map([](V v) { return hyperbolic_tangent(v); });
        case UnaryKind::leaky_relu:
            return map([&](V v) { return select(v > 0.0F, v, a * v); });
        case UnaryKind::gelu_tanh:
            return map([](V v) { return v * logistic(gelu_argument(v)); });
        case UnaryKind::erf:
            return map([](V v) {
                V density;
                return 2.0F * normal_distribution(v * 1.41421356F, &density) - 1.0F;
            });
        case UnaryKind::exp:
            return map([](V v) { return unbounded_exponential(v); });
        case UnaryKind::log:
            return map([](V v) { return each(v, [](float e) { return __builtin_logf(e); }); });
        case UnaryKind::sqrt:
            return map([](V v) { return each(v, [](float e) { return __builtin_sqrtf(e); }); });
        case UnaryKind::power:
            return map([&](V v) { return powered(v, a); });
    }
}

void unary_backward(UnaryKind kind, float a, float b, const float* x, const float* dy, float* dx,
                    int64_t count) {
    const auto map = [&](const auto& derivative) { map_gradient(x, dy, dx, count, derivative); };
    const V zero{}, one = splat(1.0F);
    switch (kind) {
        case UnaryKind::none:
            break;
        case UnaryKind::clip:
            return map([&](V v) { return select((v > a) & (v < b), one, zero); });
        case UnaryKind::sigmoid:
            return map([](V v) { return logistic(v) * logistic(-v); });
        case UnaryKind::hard_sigmoid:
            return map([&](V v) {
                const V inner = a * v + b;
                return select((inner > 0.0F) & (inner < 1.0F), splat(a), zero);
            });
        case UnaryKind::hard_swish:
            return map(
                [&](V v) { return select(v <= -3.0F, zero, select(v >= 3.0F, one, v * (1.0F / 3) + 0.5F)); });
        case UnaryKind::silu:
            return map([](V v) { return logistic(v) * (1.0F + v * logistic(-v)); });
        case UnaryKind::tanh:
            return map([](V v) {
                const V t = hyperbolic_tangent(v);
                return 1.0F - t * t;
            });
        case UnaryKind::leaky_relu:
            return map([&](V v) { return select(v > 0.0F, one, splat(a)); });
        case UnaryKind::gelu_tanh:
            return map([](V v) {
                const V u = gelu_argument(v), s = logistic(u);
                const V slope = 2.0F * gelu_slope * (1.0F + 3.0F * gelu_cubic * v * v);
                return s + v * slope * s * logistic(-u);
            });
        case UnaryKind::erf:
            return map([](V v) { return 1.12837917F * exponential(-(v * v)); });
        case UnaryKind::exp:
            return map([](V v) { return unbounded_exponential(v); });
        case UnaryKind::log:
            return map([](V v) { return 1.0F / v; });
        case UnaryKind::sqrt:
            return map([](V v) { return 0.5F / each(v, [](float e) { return __builtin_sqrtf(e); }); });
        case UnaryKind::power:
            return map([&](V v) { return a * powered(v, a - 1.0F); });
    }
}

}  // namespace
}  // namespace enmesh::cpu
