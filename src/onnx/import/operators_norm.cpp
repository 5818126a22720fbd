#include <algorithm>
#include <cmath>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"
#include "onnx/import/rows.hpp"

// Norms, and what else looks at rows of elements at once.

namespace enmesh::onnx {

ValueId largest(Converter& c, ValueId src, const std::vector<int64_t>& axes, bool keep) {
    constexpr int64_t widest_pool = 256;  // a maximum's place is kept in 8 bits
    const Shape shape = c.shape(src);
    Transpose behind;
    std::vector<int64_t> dims;
    int64_t rest = 1, row = 1;
    for (int axis = 0; axis < shape.rank(); ++axis) {
        const bool reduced = std::binary_search(axes.begin(), axes.end(), axis);
        if (!reduced) behind.order.push_back(axis);
        if (!reduced || keep) dims.push_back(reduced ? 1 : shape[axis]);
        (reduced ? row : rest) *= shape[axis];
    }
    behind.order.insert(behind.order.end(), axes.begin(), axes.end());
    ValueId value = std::is_sorted(behind.order.begin(), behind.order.end()) ? src : c.add(behind, {src});
    const int64_t images = axes.empty() || axes[0] != 0 ? shape[0] : 1;
    value = c.add(Reshape{Shape{images, rest / images, 1, row}}, {value});
    while (c.shape(value)[3] > 1) {
        const int64_t width = std::min(c.shape(value)[3], widest_pool);
        value = c.add(MaxPool2d{{.kernel = {1, width}, .stride = {1, width}, .ceil = true}}, {value});
    }
    return c.add(Reshape{Shape(std::move(dims))}, {value});
}

ValueId vector_as(Converter& c, const NodeView& node, int i, Shape shape) {
    if (const Constant* const known = c.constant(node, i)) {
        if (known->elements() != shape.elements())
            refuse("input {} has {} elements, {} expected", i, known->elements(), shape.elements());
        return c.parameter(node, i, reshaped(*known, std::move(shape)));
    }
    return c.add(Reshape{std::move(shape)}, {c.value(node, i)});
}

namespace {

/// 1 x … x extent x 1 x …, for axis 1 of a value of that rank.
Shape along_channels(int64_t extent, int rank) {
    std::vector<int64_t> dims(static_cast<size_t>(rank) - 1, 1);
    dims[0] = extent;
    return Shape(std::move(dims));
}

void batch_norm(Converter& c, const NodeView& node) {
    constexpr int64_t training_mode_since = 14;  // before, further results said it
    BatchNorm norm;
    norm.epsilon = node.real("epsilon", 1e-5);
    const auto& outputs = node.proto().output();
    const bool more_outputs = std::any_of(outputs.begin(), outputs.end(), [&](const std::string& output) {
        return &output != &outputs[0] && !output.empty();
    });
    const bool training = node.integer("training_mode", 0) != 0;
    if (training || (more_outputs && node.opset() < training_mode_since)) {
        refuse(
            "{} normalises with the statistics of each batch; export the model in eval() mode, so that it "
            "uses its running statistics",
            training ? "training_mode = 1" : "with more than one result it");
    }
    if (node.integer("spatial", 1) != 1)
        refuse("spatial = 0 is not supported: one scale for each channel is");
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
    ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    const bool maps = shape.rank() == 2 || shape.rank() == 4 || shape.rank() < 2;
    if (!maps)
        src = c.add(Reshape{Shape{shape[0], shape[1], 1, shape.elements() / (shape[0] * shape[1])}}, {src});
    const ValueId gamma = c.value(node, 1), beta = c.value(node, 2);
    const ValueId dst = c.add(norm, {src, gamma, beta, c.state(node, 3), c.state(node, 4)});
    c.set(node, 0, maps ? dst : c.add(Reshape{shape}, {dst}));
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

/// Each image's groups of channels to mean 0 and variance 1: N x groups x the rest.
ValueId standardised(Converter& c, ValueId src, int64_t groups, double epsilon) {
    const Shape shape = c.shape(src);
    if (shape.rank() < 3) refuse("its input has {} axes, at least 3 expected", shape.rank());
    if (groups < 1 || shape[1] % groups != 0)
        refuse("{} channels do not divide into {} groups", shape[1], groups);
    const Shape rows{shape[0], groups, shape.elements() / (shape[0] * groups)};
    const ValueId zeros = c.add_zeros(Shape{rows[2]});
    Tensor one(Shape{rows[2]});
    std::fill(one.f32().begin(), one.f32().end(), 1.0F);
    const ValueId ones = c.add_constant(std::move(one));
    return c.add(LayerNorm{epsilon}, {c.add(Reshape{rows}, {src}), ones, zeros});
}

/// value * scale + bias, a number of each for every entry of axis 1.
ValueId affine(Converter& c, const NodeView& node, ValueId value) {
    const Shape shape = c.shape(value);
    const Shape vector = along_channels(shape[1], shape.rank());
    const ValueId scaled = c.add(Multiply{}, {value, vector_as(c, node, 1, vector)});
    return c.add(Add{}, {scaled, vector_as(c, node, 2, vector)});
}

void instance_norm(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    if (shape.rank() < 3) refuse("its input has {} axes, at least 3 expected", shape.rank());
    const ValueId rows = standardised(c, src, shape[1], node.real("epsilon", 1e-5));
    c.set(node, 0, affine(c, node, c.add(Reshape{shape}, {rows})));
}

void group_norm(Converter& c, const NodeView& node) {
    constexpr int64_t by_channel_since = 21;
    const ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    const ValueId rows = standardised(c, src, node.integer("num_groups", 0), node.real("epsilon", 1e-5));
    if (node.opset() >= by_channel_since) {
        c.set(node, 0, affine(c, node, c.add(Reshape{shape}, {rows})));
    } else {
        c.set(node, 0, c.add(Reshape{shape}, {affine(c, node, rows)}));
    }
}

/// x / (bias + alpha / size * sum of x^2 over neighbouring channels)^beta (Krizhevsky et al. 2012).
void local_response(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    const int64_t size = node.integer("size", 0);
    if (shape.rank() < 3) refuse("its input has {} axes, at least 3 expected", shape.rank());
    if (size < 1 || size > 1 << 20) refuse("'size' of {} is out of range", size);
    const Shape columns{shape[0], 1, shape[1], shape.elements() / (shape[0] * shape[1])};
    const ValueId square = c.add(Reshape{columns}, {c.add(Multiply{}, {src, src})});
    const PoolWindow window{
        .kernel = {size, 1}, .stride = {1, 1}, .padding = {(size - 1) / 2, 0, size - 1 - (size - 1) / 2, 0}};
    const ValueId mean = c.add(AveragePool2d{window, true}, {square});
    Tensor bias{Shape{}};
    bias.f32()[0] = static_cast<float>(node.real("bias", 1));
    const ValueId sum =
        c.add(Add{}, {c.add(Scale{node.real("alpha", 1e-4)}, {mean}), c.add_constant(std::move(bias))});
    const ValueId factor = c.add(Unary{UnaryKind::power, -node.real("beta", 0.75)}, {sum});
    c.set(node, 0, c.add(Multiply{}, {src, c.add(Reshape{shape}, {factor})}));
}

}  // namespace

const OperatorTable& norm_operators() {
    static const OperatorTable table = {
        {"BatchNormalization", batch_norm},
        {"LayerNormalization", layer_norm},
        {"InstanceNormalization", instance_norm},
        {"GroupNormalization", group_norm},
        {"LRN", local_response},
    };
    return table;
}

}  // namespace enmesh::onnx
