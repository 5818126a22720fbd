#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"

// Layers: products, norms, activations, arithmetic, pools and reductions.

namespace enmesh::onnx {
namespace {

constexpr int64_t most_extent = int64_t{1} << 20;
constexpr double infinity = std::numeric_limits<double>::infinity();

std::array<int64_t, 2> pair_of(const NodeView& node, std::string_view attribute) {
    const auto given = node.integers(attribute);
    if (!given.has_value()) return {1, 1};
    if (given->size() != 2)
        refuse("'{}' has {} entries, only two-dimensional windows are supported", attribute, given->size());
    for (const int64_t value : *given) {
        if (value < 1 || value > most_extent) refuse("'{}' of {} is out of range", attribute, value);
    }
    return {(*given)[0], (*given)[1]};
}

/// Top, left, bottom, right.
std::array<int64_t, 4> padding_of(const NodeView& node, const Shape& src, std::array<int64_t, 2> kernel,
                                  std::array<int64_t, 2> stride, std::array<int64_t, 2> dilation) {
    std::array<int64_t, 4> padding{0, 0, 0, 0};
    const std::string automatic = node.text("auto_pad", "NOTSET");
    if (automatic == "VALID") return padding;
    if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
        for (size_t axis = 0; axis < 2; ++axis) {
            const int64_t extent = src[static_cast<int>(axis) + 2],
                          window = (kernel[axis] - 1) * dilation[axis] + 1;
            const int64_t count = (extent + stride[axis] - 1) / stride[axis];
            const int64_t total = std::max<int64_t>(0, (count - 1) * stride[axis] + window - extent);
            const int64_t less = total / 2, more = total - less;
            padding[axis] = automatic == "SAME_UPPER" ? less : more;
            padding[axis + 2] = total - padding[axis];
        }
        return padding;
    }
    if (automatic != "NOTSET") refuse("auto_pad '{}' is unknown", automatic);
    const auto given = node.integers("pads");
    if (!given.has_value()) return padding;
    if (given->size() != 4) refuse("'pads' has {} entries, 4 expected", given->size());
    for (size_t i = 0; i < 4; ++i) {
        if ((*given)[i] < 0 || (*given)[i] > most_extent) refuse("'pads' of {} is out of range", (*given)[i]);
        padding[i] = (*given)[i];
    }
    return padding;
}

ValueId maps_of(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    if (c.shape(src).rank() != 4)
        refuse("its input has {} axes; only maps of N x C x H x W are supported", c.shape(src).rank());
    return src;
}

void conv(Converter& c, const NodeView& node) {
    const ValueId src = maps_of(c, node);
    const Constant& kernel = c.required(node, 1, "weights");
    if (kernel.shape.rank() != 4) refuse("its weights have {} axes, 4 expected", kernel.shape.rank());
    const std::array<int64_t, 2> window{kernel.shape[2], kernel.shape[3]};
    if (node.attribute("kernel_shape") != nullptr && pair_of(node, "kernel_shape") != window)
        refuse("kernel_shape disagrees with the weights' shape {}", to_string(kernel.shape));
    Conv2d conv;
    conv.stride = pair_of(node, "strides");
    conv.dilation = pair_of(node, "dilations");
    conv.groups = node.integer("group", 1);
    conv.padding = padding_of(node, c.shape(src), window, conv.stride, conv.dilation);
    std::vector<ValueId> inputs{src, c.weights(node, 1, kernel)};
    if (node.has_input(2)) inputs.push_back(c.value(node, 2));
    c.set(node, 0, c.add(conv, std::move(inputs)));
}

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

void batch_norm(Converter& c, const NodeView& node) {
    BatchNorm norm;
    norm.epsilon = node.real("epsilon", 1e-5);
    norm.momentum = 1 - node.real("momentum", 0.9);
    // A decimal that went through float32: the nearest short one was meant.
    norm.momentum = std::round(norm.momentum * 1e6) / 1e6;
    if (const Constant* const variance = c.constant(node, 4); variance != nullptr && variance->real()) {
        const std::span<const float> values = variance->reals();
        const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return value < 0; });
        if (bad != values.end()) {
            refuse("variance '{}' is negative: element {} is {}", node.proto().input(4), bad - values.begin(),
                   static_cast<double>(*bad));
        }
    }
    const ValueId src = c.value(node, 0), gamma = c.value(node, 1), beta = c.value(node, 2);
    c.set(node, 0, c.add(norm, {src, gamma, beta, c.state(node, 3), c.state(node, 4)}));
}

void layer_norm(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0), gamma = c.value(node, 1);
    const Shape shape = c.shape(src);
    const int64_t axis = normal_axis(node.integer("axis", -1), shape.rank());
    const LayerNorm norm{node.real("epsilon", 1e-5)};
    ValueId beta;
    if (node.has_input(2)) {
        beta = c.value(node, 2);
    } else {
        beta = c.add_zeros(c.shape(gamma));
    }
    if (axis == shape.rank() - 1) {
        c.set(node, 0, c.add(norm, {src, gamma, beta}));
        return;
    }
    std::vector<int64_t> dims(shape.begin(), shape.begin() + axis);
    int64_t row = 1;
    for (auto i = static_cast<int>(axis); i < shape.rank(); ++i) row *= shape[i];
    dims.push_back(row);
    const auto flat = [&](ValueId value, Shape to) { return c.add(Reshape{std::move(to)}, {value}); };
    const ValueId result =
        c.add(norm, {flat(src, Shape(dims)), flat(gamma, Shape{row}), flat(beta, Shape{row})});
    c.set(node, 0, flat(result, shape));
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
        if (!node.has_input(i)) return fallback;
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

PoolWindow window_of(Converter& c, const NodeView& node, ValueId src) {
    if (node.attribute("kernel_shape") == nullptr) refuse("its kernel_shape is missing");
    for (const int64_t dilation : pair_of(node, "dilations")) {
        if (dilation != 1) refuse("dilated pools are not supported");
    }
    PoolWindow window;
    window.kernel = pair_of(node, "kernel_shape");
    window.stride = pair_of(node, "strides");
    window.ceil = node.integer("ceil_mode", 0) != 0;
    window.padding = padding_of(node, c.shape(src), window.kernel, window.stride, {1, 1});
    return window;
}

void max_pool(Converter& c, const NodeView& node) {
    const ValueId src = maps_of(c, node);
    if (node.proto().output_size() > 1 && !node.proto().output(1).empty())
        refuse("its second result is not supported");
    c.set(node, 0, c.add(MaxPool2d{window_of(c, node, src)}, {src}));
}

void average_pool(Converter& c, const NodeView& node) {
    const ValueId src = maps_of(c, node);
    const bool count_padding = node.integer("count_include_pad", 0) != 0;
    c.set(node, 0, c.add(AveragePool2d{window_of(c, node, src), count_padding}, {src}));
}

void global_average_pool(Converter& c, const NodeView& node) {
    c.set(node, 0, c.add(GlobalAveragePool{}, {maps_of(c, node)}));
}

void global_max_pool(Converter& c, const NodeView& node) {
    const ValueId src = maps_of(c, node);
    PoolWindow window;
    window.kernel = {c.shape(src)[2], c.shape(src)[3]};
    window.stride = window.kernel;
    c.set(node, 0, c.add(MaxPool2d{window}, {src}));
}

template <bool mean>
void reduce(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const int rank = c.shape(src).rank();
    std::vector<int64_t> axes;
    if (node.has_input(1)) {
        axes = integers_of(c.required(node, 1, "axes"), "axes");
    } else if (const auto given = node.integers("axes")) {
        axes = *given;
    }
    if (axes.empty() && node.integer("noop_with_empty_axes", 0) != 0) {
        c.set(node, 0, src);
        return;
    }
    for (int64_t& axis : axes) axis = normal_axis(axis, rank);
    for (int i = 0; i < rank && axes.empty(); ++i) axes.push_back(i);
    std::sort(axes.begin(), axes.end());
    if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) refuse("an axis is named twice");
    const bool keep = node.integer("keepdims", 1) != 0;
    if (!mean || rank != 4 || axes != std::vector<int64_t>{2, 3}) {
        c.set(node, 0, c.add(Reduce{axes, mean, keep}, {src}));
        return;
    }
    const ValueId pooled = c.add(GlobalAveragePool{}, {src});
    const Shape shape = c.shape(pooled);
    c.set(node, 0, keep ? pooled : c.add(Reshape{Shape{shape[0], shape[1]}}, {pooled}));
}

void softmax(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const int rank = c.shape(src).rank();
    const int64_t axis = normal_axis(node.integer("axis", -1), rank);
    if (axis == rank - 1) {
        c.set(node, 0, c.add(Softmax{}, {src}));
        return;
    }
    Transpose swap;
    for (int i = 0; i < rank; ++i) swap.order.push_back(i);
    std::swap(swap.order[static_cast<size_t>(axis)], swap.order.back());
    c.set(node, 0, c.add(swap, {c.add(Softmax{}, {c.add(swap, {src})})}));
}

void dropout(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    double ratio = 0.5;
    if (node.has_input(1)) ratio = c.scalar(node, 1).value_or(-1);
    const bool training = node.has_input(2) && c.scalar(node, 2).value_or(0) != 0;
    if (ratio < 0 || ratio >= 1) refuse("its ratio must be a known number in [0, 1)");
    if (node.proto().output_size() > 1 && !node.proto().output(1).empty() && training)
        refuse("its second result is not supported");
    c.set(node, 0, training && ratio > 0 ? c.add(Dropout{ratio, c.next_dropout()}, {src}) : src);
}

}  // namespace

const OperatorTable& layer_operators() {
    static const OperatorTable table = {
        {"Conv", conv},
        {"Gemm", gemm},
        {"MatMul", matmul},
        {"BatchNormalization", batch_norm},
        {"LayerNormalization", layer_norm},
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
        {"Clip", clip},
        {"Min", extremum<true>},
        {"Max", extremum<false>},
        {"Add", add},
        {"Sub", subtract},
        {"Mul", multiply},
        {"Div", divide},
        {"Pow", power},
        {"Neg", negate},
        {"Reciprocal", reciprocal},
        {"MaxPool", max_pool},
        {"AveragePool", average_pool},
        {"GlobalAveragePool", global_average_pool},
        {"GlobalMaxPool", global_max_pool},
        {"ReduceMean", reduce<true>},
        {"ReduceSum", reduce<false>},
        {"Softmax", softmax},
        {"Dropout", dropout},
    };
    return table;
}

ConvertOperator find_operator(std::string_view op_type) {
    for (const OperatorTable* const table : {&layer_operators(), &shape_operators()}) {
        if (const auto found = table->find(op_type); found != table->end()) return found->second;
    }
    return nullptr;
}

}  // namespace enmesh::onnx
