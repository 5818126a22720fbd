#include <cmath>
#include <numbers>

#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"

// Exporters write some operations in their parts. Nodes are matched backwards from the newest one; those that
// a match leaves without a use are pruned at the end.

namespace enmesh::onnx {
namespace {

/// The value's producer, read as this operation.
template <typename Op>
const Op* made_by(const Graph& graph, ValueId value) {
    const int producer = graph.value(value).producer;
    return producer < 0 ? nullptr : graph.node(producer).operation.as<Op>();
}

const std::vector<ValueId>& inputs_of(const Graph& graph, ValueId value) {
    return graph.node(graph.value(value).producer).inputs;
}

std::optional<double> number(const Graph& graph, ValueId value) {
    const Value& constant = graph.value(value);
    if (constant.role != Role::constant || constant.type.shape.elements() != 1 ||
        constant.type.dtype != DType::f32)
        return std::nullopt;
    return static_cast<double>(constant.initializer.given->f32()[0]);
}

bool near(double value, double expected) { return std::fabs(value - expected) <= 1e-4 * std::fabs(expected); }
bool near(std::optional<double> value, double expected) {
    return value.has_value() && near(*value, expected);
}

/// x, where the value is `kind`(x).
std::optional<ValueId> of_unary(const Graph& graph, ValueId value, UnaryKind kind) {
    const Unary* const unary = made_by<Unary>(graph, value);
    if (unary == nullptr || unary->kind != kind) return std::nullopt;
    return inputs_of(graph, value)[0];
}

std::optional<ValueId> of_power(const Graph& graph, ValueId value, double exponent) {
    const Unary* const unary = made_by<Unary>(graph, value);
    if (unary != nullptr && unary->kind == UnaryKind::power && unary->a == exponent)
        return inputs_of(graph, value)[0];
    return std::nullopt;
}

/// x, where the value is x + `term`.
std::optional<ValueId> of_sum(const Graph& graph, ValueId value, double term) {
    if (made_by<Add>(graph, value) == nullptr) return std::nullopt;
    const std::vector<ValueId>& inputs = inputs_of(graph, value);
    for (size_t i = 0; i < 2; ++i) {
        if (near(number(graph, inputs[i]), term)) return inputs[1 - i];
    }
    return std::nullopt;
}

/// A value as a number times values: products are followed until `stop`.
struct Factors {
    double scale = 1;
    std::vector<ValueId> values;
};
void collect(const Graph& graph, ValueId value, ValueId stop, int depth, Factors& factors) {
    if (value == stop || depth == 0) {
        factors.values.push_back(value);
    } else if (const Scale* const scale = made_by<Scale>(graph, value)) {
        factors.scale *= scale->factor;
        collect(graph, inputs_of(graph, value)[0], stop, depth - 1, factors);
    } else if (made_by<Multiply>(graph, value) != nullptr) {
        for (const ValueId input : inputs_of(graph, value)) collect(graph, input, stop, depth - 1, factors);
    } else {
        factors.values.push_back(value);
    }
}
Factors factors_of(const Graph& graph, ValueId value, ValueId stop = {}) {
    constexpr int most_products = 4;
    Factors factors;
    collect(graph, value, stop, most_products, factors);
    return factors;
}

/// Whether the value is `scale` * x^power.
bool is_power_of(const Graph& graph, ValueId value, ValueId x, int power, double scale) {
    const Factors factors = factors_of(graph, value, x);
    int found = 0;
    for (const ValueId factor : factors.values) {
        if (factor == x) {
            found += 1;
        } else if (of_power(graph, factor, 2) == x) {
            found += 2;
        } else if (of_power(graph, factor, 3) == x) {
            found += 3;
        } else {
            return false;
        }
    }
    return found == power && near(factors.scale, scale);
}

/// x, where the value is sqrt(2 / pi) * (x + 0.044715 * x^3) in one of its spellings.
std::optional<ValueId> of_gelu_argument(const Graph& graph, ValueId value) {
    constexpr double cubic = 0.044715;
    const Factors factors = factors_of(graph, value);
    if (!near(factors.scale, std::sqrt(2 / std::numbers::pi))) return std::nullopt;
    if (factors.values.size() == 1 && made_by<Add>(graph, factors.values[0]) != nullptr) {
        const std::vector<ValueId>& terms = inputs_of(graph, factors.values[0]);
        for (size_t i = 0; i < 2; ++i) {
            if (is_power_of(graph, terms[1 - i], terms[i], 3, cubic)) return terms[i];
        }
    }
    for (const ValueId gate : factors.values) {
        const auto square = of_sum(graph, gate, 1);
        if (!square.has_value()) continue;
        for (const ValueId x : factors.values) {
            const Factors again = factors_of(graph, value, x);
            if (again.values.size() == 2 && x != gate && is_power_of(graph, *square, x, 2, cubic)) return x;
        }
    }
    return std::nullopt;
}

/// What a value gates: x * gate(x) * scale is the operation.
struct Gate {
    ValueId x;
    double scale;
    Operation operation;
};
std::optional<Gate> gate_of(const Graph& graph, ValueId value) {
    if (const auto x = of_unary(graph, value, UnaryKind::sigmoid)) return Gate{*x, 1, Unary{UnaryKind::silu}};
    if (const Unary* const unary = made_by<Unary>(graph, value)) {
        const ValueId src = inputs_of(graph, value)[0];
        if (unary->kind == UnaryKind::hard_sigmoid && near(unary->a, 1.0 / 6) && near(unary->b, 0.5))
            return Gate{src, 1, Unary{UnaryKind::hard_swish}};
        if (unary->kind == UnaryKind::clip && unary->a == 0 && near(unary->b, 6)) {
            if (const auto x = of_sum(graph, src, 3)) return Gate{*x, 1.0 / 6, Unary{UnaryKind::hard_swish}};
        }
    }
    const auto inner = of_sum(graph, value, 1);
    if (!inner.has_value()) return std::nullopt;
    if (const auto scaled = of_unary(graph, *inner, UnaryKind::erf)) {
        const Scale* const scale = made_by<Scale>(graph, *scaled);
        if (scale != nullptr && near(scale->factor, std::numbers::sqrt2 / 2))
            return Gate{inputs_of(graph, *scaled)[0], 0.5, Gelu{}};
    }
    if (const auto argument = of_unary(graph, *inner, UnaryKind::tanh)) {
        if (const auto x = of_gelu_argument(graph, *argument))
            return Gate{*x, 0.5, Unary{UnaryKind::gelu_tanh}};
    }
    return std::nullopt;
}

std::optional<Fused> fuse_gate(const Graph& graph, ValueId newest) {
    for (const ValueId candidate : factors_of(graph, newest).values) {
        const auto gate = gate_of(graph, candidate);
        if (!gate.has_value()) continue;
        const Factors factors = factors_of(graph, newest, gate->x);
        const bool pair = factors.values.size() == 2 &&
                          (factors.values[0] == gate->x || factors.values[1] == gate->x) &&
                          (factors.values[0] == candidate || factors.values[1] == candidate);
        if (pair && near(factors.scale, gate->scale)) return Fused{gate->operation, {gate->x}};
    }
    return std::nullopt;
}

/// clip(x + 3, 0, 6) / 6.
std::optional<Fused> fuse_hard_sigmoid(const Graph& graph, ValueId newest) {
    const ValueId src = inputs_of(graph, newest)[0];
    const Unary* const clip = made_by<Unary>(graph, src);
    if (!near(made_by<Scale>(graph, newest)->factor, 1.0 / 6) || clip == nullptr ||
        clip->kind != UnaryKind::clip || clip->a != 0 || !near(clip->b, 6))
        return std::nullopt;
    const auto x = of_sum(graph, inputs_of(graph, src)[0], 3);
    if (!x.has_value()) return std::nullopt;
    return Fused{Unary{UnaryKind::hard_sigmoid, 1.0 / 6, 0.5}, {*x}};
}

/// x, where the value is the mean of x over its last axis.
std::optional<ValueId> of_row_mean(const Graph& graph, ValueId value) {
    const Reduce* const reduce = made_by<Reduce>(graph, value);
    if (reduce == nullptr || !reduce->mean || !reduce->keep) return std::nullopt;
    const ValueId src = inputs_of(graph, value)[0];
    if (reduce->axes != std::vector<int64_t>{graph.type(src).shape.rank() - 1}) return std::nullopt;
    return src;
}

/// x, where the value is x minus its row's mean.
std::optional<ValueId> of_centred(const Graph& graph, ValueId value) {
    if (made_by<Subtract>(graph, value) == nullptr) return std::nullopt;
    const std::vector<ValueId>& inputs = inputs_of(graph, value);
    return of_row_mean(graph, inputs[1]) == inputs[0] ? std::optional(inputs[0]) : std::nullopt;
}

/// A row's deviation, sqrt(mean((x - mean(x))^2) + epsilon), and its epsilon.
std::optional<double> epsilon_of_deviation(const Graph& graph, ValueId value, ValueId x) {
    auto sum = of_unary(graph, value, UnaryKind::sqrt);
    if (!sum.has_value()) sum = of_power(graph, value, 0.5);
    if (!sum.has_value() || made_by<Add>(graph, *sum) == nullptr) return std::nullopt;
    const std::vector<ValueId>& terms = inputs_of(graph, *sum);
    for (size_t i = 0; i < 2; ++i) {
        const auto epsilon = number(graph, terms[i]);
        const auto square = of_row_mean(graph, terms[1 - i]);
        if (!epsilon.has_value() || !square.has_value()) continue;
        auto centred = of_power(graph, *square, 2);
        if (made_by<Multiply>(graph, *square) != nullptr) {
            const std::vector<ValueId>& factors = inputs_of(graph, *square);
            if (factors[0] == factors[1]) centred = factors[0];
        }
        if (centred.has_value() && of_centred(graph, *centred) == x) return epsilon;
    }
    return std::nullopt;
}

bool is_row_vector(const Graph& graph, ValueId value, int64_t extent) {
    const Value& vector = graph.value(value);
    return (vector.role == Role::parameter || vector.role == Role::constant) &&
           vector.type.shape == Shape{extent};
}

/// (x - mean) / deviation * gamma + beta over the last axis.
std::optional<Fused> fuse_layer_norm(const Graph& graph, ValueId newest) {
    const std::vector<ValueId>& sum = inputs_of(graph, newest);
    const int64_t extent = graph.type(newest).shape.rank() > 0 ? graph.type(newest).shape[-1] : 0;
    for (size_t i = 0; i < 2; ++i) {
        const ValueId beta = sum[i], product = sum[1 - i];
        if (!is_row_vector(graph, beta, extent) || made_by<Multiply>(graph, product) == nullptr) continue;
        const std::vector<ValueId>& factors = inputs_of(graph, product);
        for (size_t j = 0; j < 2; ++j) {
            const ValueId gamma = factors[j], quotient = factors[1 - j];
            if (!is_row_vector(graph, gamma, extent) || made_by<Divide>(graph, quotient) == nullptr) continue;
            const auto x = of_centred(graph, inputs_of(graph, quotient)[0]);
            if (!x.has_value()) continue;
            const auto epsilon = epsilon_of_deviation(graph, inputs_of(graph, quotient)[1], *x);
            if (epsilon.has_value()) return Fused{LayerNorm{*epsilon}, {*x, gamma, beta}};
        }
    }
    return std::nullopt;
}

std::optional<Fused> fuse_bias(const Graph& graph, ValueId newest) {
    const std::vector<ValueId>& sum = inputs_of(graph, newest);
    for (size_t i = 0; i < 2; ++i) {
        const ValueId bias = sum[i], product = sum[1 - i];
        if (made_by<Linear>(graph, product) == nullptr) continue;
        const std::vector<ValueId>& inputs = inputs_of(graph, product);
        if (inputs.size() != 2 || graph.value(bias).role != Role::parameter ||
            graph.type(bias).shape != Shape{graph.type(inputs[1]).shape[0]})
            continue;
        return Fused{Linear{}, {inputs[0], inputs[1], bias}, graph.value(product).producer};
    }
    return std::nullopt;
}

}  // namespace

std::optional<Fused> fuse(const Graph& graph, ValueId newest) {
    std::optional<Fused> fused;
    if (made_by<Multiply>(graph, newest) != nullptr) fused = fuse_gate(graph, newest);
    if (made_by<Scale>(graph, newest) != nullptr) {
        fused = fuse_gate(graph, newest);
        if (!fused.has_value()) fused = fuse_hard_sigmoid(graph, newest);
    }
    if (made_by<Add>(graph, newest) != nullptr) {
        fused = fuse_bias(graph, newest);
        if (!fused.has_value()) fused = fuse_layer_norm(graph, newest);
    }
    if (fused.has_value() && fused->layer_of < 0) fused->layer_of = graph.value(newest).producer;
    return fused;
}

}  // namespace enmesh::onnx
