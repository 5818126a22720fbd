#include <algorithm>
#include <cmath>
#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"
#include "onnx/import/rows.hpp"

// Matrix products, activations, arithmetic and reductions.

namespace enmesh::onnx {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// src times a known matrix C × K, as a Linear whose weights are K × C.
ValueId linear(Converter& c, const NodeView& node, ValueId src, int i, bool transposed_weights) {
    const Constant& matrix = c.required(node, i, "weights");
    if (!matrix.real()) refuse("its weights are {}", type_name(matrix.type));
    c.budget() -= transposed_weights ? 0 : matrix.elements();
    if (c.budget() < 0) refuse("its weights are used too often");
    return c.add(Linear{},
                 {src, c.weights(node, i, transposed_weights ? matrix : transposed(matrix, {1, 0}))});
}

ValueId scaled(Converter& c, ValueId value, double factor) {
    return factor == 1 ? value : c.add(Scale{factor}, {value});
}

void gemm(Converter& c, const NodeView& node) {
    const ValueId a = c.value(node, 0);
    const double alpha = node.real("alpha", 1), beta = node.real("beta", 1);
    const bool transpose_b = node.integer("transB", 0) != 0;
    if (c.shape(a).rank() != 2) refuse("its input has {} axes, 2 expected", c.shape(a).rank());
    const Constant* const b = c.constant(node, 1);
    ValueId result;
    if (b != nullptr && b->shape.rank() == 2 && node.integer("transA", 0) == 0) {
        result = linear(c, node, a, 1, transpose_b);
    } else {
        result = c.add(MatMul{node.integer("transA", 0) != 0, transpose_b}, {a, c.value(node, 1)});
    }
    result = scaled(c, result, alpha);
    if (node.has_input(2)) result = c.add(Add{}, {result, scaled(c, c.value(node, 2), beta)});
    c.set(node, 0, result);
}

ValueId with_batch_axes(Converter& c, ValueId value, const std::vector<int64_t>& batch) {
    const Shape from = c.shape(value);
    std::vector<int64_t> dims = batch;
    dims.push_back(from[-2]);
    dims.push_back(from[-1]);
    const Shape to(dims);
    if (to == from) return value;
    checked_elements(dims, int64_t{1} << 40);
    const bool per_image = to[0] == c.batch() && (from.rank() < to.rank() || from[0] == 1);
    return c.add(Expand{to, per_image}, {value});
}

void matmul(Converter& c, const NodeView& node) {
    const Constant *const a = c.constant(node, 0), *const b = c.constant(node, 1);
    if (a == nullptr && b != nullptr && b->shape.rank() == 2) {
        const ValueId src = c.value(node, 0);
        if (c.shape(src).rank() < 2)
            refuse("its input has {} axes, at least 2 expected", c.shape(src).rank());
        c.set(node, 0, linear(c, node, src, 1, false));
        return;
    }
    ValueId left = c.value(node, 0), right = c.value(node, 1);
    const Shape x = c.shape(left), y = c.shape(right);
    if (x.rank() < 2 || y.rank() < 2) refuse("vectors as operands are not supported");
    const Shape batch = broadcast_shape(Shape(std::vector<int64_t>(x.begin(), x.end() - 2)),
                                        Shape(std::vector<int64_t>(y.begin(), y.end() - 2)));
    left = with_batch_axes(c, left, batch.dims());
    right = with_batch_axes(c, right, batch.dims());
    c.set(node, 0, c.add(MatMul{}, {left, right}));
}

template <typename Op>
void simple(Converter& c, const NodeView& node) {
    c.set(node, 0, c.add(Op{}, {c.value(node, 0)}));
}

template <UnaryKind kind>
void unary(Converter& c, const NodeView& node) {
    c.set(node, 0, c.add(Unary{kind}, {c.value(node, 0)}));
}

void hard_sigmoid(Converter& c, const NodeView& node) {
    const double alpha = node.real("alpha", 0.2), beta = node.real("beta", 0.5);
    c.set(node, 0, c.add(Unary{UnaryKind::hard_sigmoid, alpha, beta}, {c.value(node, 0)}));
}

void leaky_relu(Converter& c, const NodeView& node) {
    c.set(node, 0, c.add(Unary{UnaryKind::leaky_relu, node.real("alpha", 0.01)}, {c.value(node, 0)}));
}

ValueId number(Converter& c, double value) {
    Tensor tensor{Shape{}};
    tensor.f32()[0] = static_cast<float>(value);
    return c.add_constant(std::move(tensor));
}

/// x above 0, slope * x below.
void prelu(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0), slope = c.value(node, 1);
    const ValueId below = c.add(Relu{}, {c.add(Scale{-1}, {src})});
    const ValueId scaled_below = c.add(Multiply{}, {below, slope});
    if (c.shape(scaled_below) != c.shape(src)) refuse("its slope has more axes than its input");
    c.set(node, 0, c.add(Subtract{}, {c.add(Relu{}, {src}), scaled_below}));
}

/// x above 0, alpha * (exp(x) - 1) below.
void elu(Converter& c, const NodeView& node) {
    const double alpha = node.real("alpha", 1);
    const ValueId src = c.value(node, 0);
    const ValueId below = c.add(Unary{UnaryKind::clip, -infinity, 0}, {src});
    const ValueId curve = c.add(Scale{alpha}, {c.add(Unary{UnaryKind::exp}, {below})});
    c.set(node, 0, c.add(Add{}, {c.add(Relu{}, {src}), c.add(Add{}, {curve, number(c, -alpha)})}));
}

/// log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which does not overflow.
ValueId softplus_of(Converter& c, ValueId src) {
    const ValueId above = c.add(Relu{}, {src});
    const ValueId magnitude = c.add(Subtract{}, {src, c.add(Scale{2}, {above})});
    const ValueId inner = c.add(Add{}, {c.add(Unary{UnaryKind::exp}, {magnitude}), number(c, 1)});
    return c.add(Add{}, {above, c.add(Unary{UnaryKind::log}, {inner})});
}

void softplus(Converter& c, const NodeView& node) { c.set(node, 0, softplus_of(c, c.value(node, 0))); }

void mish(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    c.set(node, 0, c.add(Multiply{}, {src, c.add(Unary{UnaryKind::tanh}, {softplus_of(c, src)})}));
}

void gelu(Converter& c, const NodeView& node) {
    const std::string form = node.text("approximate", "none");
    if (form != "none" && form != "tanh") refuse("approximate='{}' is unknown", form);
    const Operation operation = form == "none" ? Operation(Gelu{}) : Operation(Unary{UnaryKind::gelu_tanh});
    c.set(node, 0, c.add(operation, {c.value(node, 0)}));
}

void swish(Converter& c, const NodeView& node) {
    if (node.real("alpha", 1) != 1) refuse("alpha other than 1 is not supported");
    unary<UnaryKind::silu>(c, node);
}

void clip_between(Converter& c, const NodeView& node, ValueId src, double low, double high) {
    if (low == 0 && high == infinity) {
        c.set(node, 0, c.add(Relu{}, {src}));
    } else {
        c.set(node, 0, c.add(Unary{UnaryKind::clip, low, high}, {src}));
    }
}

void clip(Converter& c, const NodeView& node) {
    const auto bound = [&](int i, double fallback) {
        if (!node.has_input(i)) return node.real(i == 1 ? "min" : "max", fallback);
        const auto value = c.scalar(node, i);
        if (!value.has_value()) refuse("its bounds must be known numbers");
        return *value;
    };
    clip_between(c, node, c.value(node, 0), bound(1, -infinity), bound(2, infinity));
}

template <bool minimum>
void extremum(Converter& c, const NodeView& node) {
    for (int i = 0; i < 2 && node.inputs() == 2; ++i) {
        const auto bound = c.scalar(node, i);
        if (!bound.has_value()) continue;
        clip_between(c, node, c.value(node, 1 - i), minimum ? -infinity : *bound,
                     minimum ? *bound : infinity);
        return;
    }
    refuse("is supported with one known number only");
}

void add(Converter& c, const NodeView& node) {
    c.set(node, 0, c.add(Add{}, {c.value(node, 0), c.value(node, 1)}));
}

void sum(Converter& c, const NodeView& node) {
    ValueId total = c.value(node, 0);
    for (int i = 1; i < node.inputs(); ++i) total = c.add(Add{}, {total, c.value(node, i)});
    c.set(node, 0, total);
}

/// Whether a known number can stand for operand i: it must not add axes to the other one.
std::optional<double> factor_of(Converter& c, const NodeView& node, int i) {
    const Constant* const constant = c.constant(node, i);
    if (constant == nullptr || constant->elements() != 1 || c.constant(node, 1 - i) != nullptr)
        return std::nullopt;
    if (constant->shape.rank() > c.shape(c.value(node, 1 - i)).rank()) return std::nullopt;
    return constant->number(0);
}

void subtract(Converter& c, const NodeView& node) {
    if (const auto term = factor_of(c, node, 1)) {
        Tensor negative{Shape{}};
        negative.f32()[0] = static_cast<float>(-*term);
        c.set(node, 0, c.add(Add{}, {c.value(node, 0), c.add_constant(std::move(negative))}));
        return;
    }
    c.set(node, 0, c.add(Subtract{}, {c.value(node, 0), c.value(node, 1)}));
}

void multiply(Converter& c, const NodeView& node) {
    for (int i = 0; i < 2; ++i) {
        if (const auto factor = factor_of(c, node, i)) {
            c.set(node, 0, c.add(Scale{*factor}, {c.value(node, 1 - i)}));
            return;
        }
    }
    c.set(node, 0, c.add(Multiply{}, {c.value(node, 0), c.value(node, 1)}));
}

void divide(Converter& c, const NodeView& node) {
    const auto divisor = factor_of(c, node, 1);
    if (divisor.has_value() && *divisor != 0) {
        c.set(node, 0, c.add(Scale{1 / *divisor}, {c.value(node, 0)}));
        return;
    }
    c.set(node, 0, c.add(Divide{}, {c.value(node, 0), c.value(node, 1)}));
}

void power(Converter& c, const NodeView& node) {
    const auto exponent = c.scalar(node, 1);
    if (!exponent.has_value()) refuse("its exponent must be a known number");
    c.set(node, 0, c.add(Unary{UnaryKind::power, *exponent}, {c.value(node, 0)}));
}

void negate(Converter& c, const NodeView& node) { c.set(node, 0, c.add(Scale{-1}, {c.value(node, 0)})); }
void reciprocal(Converter& c, const NodeView& node) {
    c.set(node, 0, c.add(Unary{UnaryKind::power, -1}, {c.value(node, 0)}));
}

/// Ascending; all where none are named. None at all where the file wants nothing done.
std::optional<std::vector<int64_t>> reduced_axes(Converter& c, const NodeView& node, int rank) {
    std::vector<int64_t> axes;
    if (node.has_input(1)) {
        axes = integers_of(c.required(node, 1, "axes"), "axes");
    } else if (const auto given = node.integers("axes")) {
        axes = *given;
    }
    if (axes.empty() && node.integer("noop_with_empty_axes", 0) != 0) return std::nullopt;
    for (int64_t& axis : axes) axis = normal_axis(axis, rank);
    for (int i = 0; i < rank && axes.empty(); ++i) axes.push_back(i);
    std::sort(axes.begin(), axes.end());
    if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) refuse("an axis is named twice");
    return axes;
}

template <bool mean>
void reduce(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const int rank = c.shape(src).rank();
    const auto axes = reduced_axes(c, node, rank);
    const bool keep = node.integer("keepdims", 1) != 0;
    if (!axes.has_value()) {
        c.set(node, 0, src);
        return;
    }
    if (!mean || rank != 4 || *axes != std::vector<int64_t>{2, 3}) {
        c.set(node, 0, c.add(Reduce{*axes, mean, keep}, {src}));
        return;
    }
    const ValueId pooled = c.add(GlobalAveragePool{}, {src});
    const Shape shape = c.shape(pooled);
    c.set(node, 0, keep ? pooled : c.add(Reshape{Shape{shape[0], shape[1]}}, {pooled}));
}

void reduce_max(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const auto axes = reduced_axes(c, node, c.shape(src).rank());
    const bool keep = node.integer("keepdims", 1) != 0;
    c.set(node, 0, axes.has_value() ? largest(c, src, *axes, keep) : src);
}

/// apply( rows ) with the axis of Softmax and LogSoftmax last. Before operator set 13 all axes from that one
/// on are one row.
template <typename Apply>
void over_softmax_axis(Converter& c, const NodeView& node, const Apply& apply) {
    constexpr int64_t one_axis_since = 13;
    const ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    const int rank = shape.rank();
    const int64_t axis = normal_axis(node.integer("axis", node.opset() < one_axis_since ? 1 : -1), rank);
    if (axis == rank - 1) {
        c.set(node, 0, apply(src));
    } else if (node.opset() < one_axis_since) {
        int64_t rows = 1;
        for (int i = 0; i < static_cast<int>(axis); ++i) rows *= shape[i];
        const ValueId flat = c.add(Reshape{Shape{rows, shape.elements() / rows}}, {src});
        c.set(node, 0, c.add(Reshape{shape}, {apply(flat)}));
    } else {
        Transpose swap;
        for (int i = 0; i < rank; ++i) swap.order.push_back(i);
        std::swap(swap.order[static_cast<size_t>(axis)], swap.order.back());
        c.set(node, 0, c.add(swap, {apply(c.add(swap, {src}))}));
    }
}

void softmax(Converter& c, const NodeView& node) {
    over_softmax_axis(c, node, [&](ValueId rows) { return c.add(Softmax{}, {rows}); });
}

/// At the end of a network the logits serve as well: their softmax, and so loss and class, are the same.
void log_softmax(Converter& c, const NodeView& node) {
    over_softmax_axis(c, node, [&](ValueId rows) {
        if (c.is_network_output(node) && c.shape(rows).rank() == 2) {
            c.note(
                "the output is a log-softmax: what it is computed from serves as logits, of the same loss "
                "and class");
            return rows;
        }
        const int last = c.shape(rows).rank() - 1;
        const ValueId lowered = c.add(Subtract{}, {rows, largest(c, rows, {last}, true)});
        const ValueId sum = c.add(Reduce{{last}, false, true}, {c.add(Unary{UnaryKind::exp}, {lowered})});
        return c.add(Subtract{}, {lowered, c.add(Unary{UnaryKind::log}, {sum})});
    });
}

void dropout(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    double ratio = node.real("ratio", 0.5);
    if (node.has_input(1)) ratio = c.scalar(node, 1).value_or(-1);
    const bool training = node.has_input(2) && c.scalar(node, 2).value_or(0) != 0;
    if (ratio < 0 || ratio >= 1) refuse("its ratio must be a known number in [0, 1)");
    c.set(node, 0, training && ratio > 0 ? c.add(Dropout{ratio, c.next_dropout()}, {src}) : src);
}

}  // namespace

const OperatorTable& layer_operators() {
    static const OperatorTable table = {
        {"Gemm", gemm},
        {"MatMul", matmul},
        {"Relu", simple<Relu>},
        {"Gelu", gelu},
        {"Sigmoid", unary<UnaryKind::sigmoid>},
        {"HardSigmoid", hard_sigmoid},
        {"HardSwish", unary<UnaryKind::hard_swish>},
        {"Swish", swish},
        {"Tanh", unary<UnaryKind::tanh>},
        {"Erf", unary<UnaryKind::erf>},
        {"Exp", unary<UnaryKind::exp>},
        {"Log", unary<UnaryKind::log>},
        {"Sqrt", unary<UnaryKind::sqrt>},
        {"LeakyRelu", leaky_relu},
        {"PRelu", prelu},
        {"Elu", elu},
        {"Softplus", softplus},
        {"Mish", mish},
        {"Clip", clip},
        {"Min", extremum<true>},
        {"Max", extremum<false>},
        {"Add", add},
        {"Sum", sum},
        {"Sub", subtract},
        {"Mul", multiply},
        {"Div", divide},
        {"Pow", power},
        {"Neg", negate},
        {"Reciprocal", reciprocal},
        {"ReduceMean", reduce<true>},
        {"ReduceSum", reduce<false>},
        {"ReduceMax", reduce_max},
        {"Softmax", softmax},
        {"LogSoftmax", log_softmax},
        {"Dropout", dropout},
    };
    return table;
}

std::vector<const OperatorTable*> operator_tables() {
    return {&layer_operators(), &norm_operators(), &resize_operators(), &shape_operators(),
            &window_operators()};
}

ConvertOperator find_operator(std::string_view op_type) {
    for (const OperatorTable* const table : operator_tables()) {
        if (const auto found = table->find(op_type); found != table->end()) return found->second;
    }
    return nullptr;
}

}  // namespace enmesh::onnx
