#include <algorithm>
#include <array>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"
#include "onnx/import/rows.hpp"

// Convolutions and pools, over one to three axes.

namespace enmesh::onnx {
namespace {

constexpr int64_t most_extent = int64_t{1} << 20;
using List = std::vector<int64_t>;

/// One entry for each of the window's axes, 1 where the file says nothing.
List window_list(const NodeView& node, std::string_view attribute, size_t axes) {
    const auto given = node.integers(attribute);
    if (!given.has_value()) return List(axes, 1);
    if (given->size() != axes) refuse("'{}' has {} entries, {} expected", attribute, given->size(), axes);
    for (const int64_t value : *given) {
        if (value < 1 || value > most_extent) refuse("'{}' of {} is out of range", attribute, value);
    }
    return *given;
}

struct Window {
    List kernel, stride, dilation, before, after;

    bool padded() const {
        const auto any = [](const List& list) {
            return std::any_of(list.begin(), list.end(), [](int64_t value) { return value != 0; });
        };
        return any(before) || any(after);
    }
};

void set_padding(const NodeView& node, const List& extents, Window& window) {
    const size_t axes = extents.size();
    window.before = window.after = List(axes, 0);
    const std::string automatic = node.text("auto_pad", "NOTSET");
    const auto given = node.integers("pads");
    if (automatic == "VALID") return;
    if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
        for (size_t axis = 0; axis < axes; ++axis) {
            const int64_t stride = window.stride[axis],
                          reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            const int64_t count = (extents[axis] + stride - 1) / stride;
            const int64_t total = std::max<int64_t>(0, (count - 1) * stride + reach - extents[axis]);
            window.before[axis] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
            window.after[axis] = total - window.before[axis];
        }
        return;
    }
    if (automatic != "NOTSET") refuse("auto_pad '{}' is unknown", automatic);
    if (!given.has_value()) return;
    if (given->size() != 2 * axes) refuse("'pads' has {} entries, {} expected", given->size(), 2 * axes);
    for (const int64_t pad : *given) {
        if (pad < 0 || pad > most_extent) refuse("'pads' of {} is out of range", pad);
    }
    window.before.assign(given->begin(), given->begin() + static_cast<int64_t>(axes));
    window.after.assign(given->begin() + static_cast<int64_t>(axes), given->end());
}

ValueId reshape(Converter& c, ValueId src, Shape shape) {
    checked_elements(shape.dims(), int64_t{1} << 40);
    return shape == c.shape(src) ? src : c.add(Reshape{std::move(shape)}, {src});
}

/// N x C x L as maps of height 1.
ValueId with_height(Converter& c, ValueId src) {
    const Shape shape = c.shape(src);
    return shape.rank() == 3 ? reshape(c, src, {shape[0], shape[1], 1, shape[2]}) : src;
}
ValueId without_height(Converter& c, ValueId dst, bool added) {
    const Shape shape = c.shape(dst);
    return added ? reshape(c, dst, {shape[0], shape[1], shape[3]}) : dst;
}
/// A window over one axis as one over two.
Window over_two_axes(Window window) {
    if (window.kernel.size() != 1) return window;
    for (List* const list : {&window.kernel, &window.stride, &window.dilation})
        list->insert(list->begin(), 1);
    for (List* const list : {&window.before, &window.after}) list->insert(list->begin(), 0);
    return window;
}

/// The input's extents behind N and C.
List spatial_extents(Converter& c, ValueId src, int most_axes_of_window) {
    const Shape shape = c.shape(src);
    if (shape.rank() < 3 || shape.rank() > 2 + most_axes_of_window)
        refuse("its input has {} axes; 3 to {} are supported: N, C and those of the window", shape.rank(),
               2 + most_axes_of_window);
    return {shape.begin() + 2, shape.end()};
}

Window window_of_layer(const NodeView& node, const Constant& weights, const List& extents) {
    if (weights.shape.rank() != static_cast<int>(extents.size()) + 2)
        refuse("its weights have {} axes, {} expected", weights.shape.rank(), extents.size() + 2);
    Window window;
    window.kernel.assign(weights.shape.begin() + 2, weights.shape.end());
    if (node.has("kernel_shape") && window_list(node, "kernel_shape", extents.size()) != window.kernel)
        refuse("kernel_shape disagrees with the weights' shape {}", to_string(weights.shape));
    window.stride = window_list(node, "strides", extents.size());
    window.dilation = window_list(node, "dilations", extents.size());
    return window;
}

Conv2d conv_of(const Window& window, int64_t groups) {
    return {.stride = {window.stride[0], window.stride[1]},
            .padding = {window.before[0], window.before[1], window.after[0], window.after[1]},
            .dilation = {window.dilation[0], window.dilation[1]},
            .groups = groups};
}

/// The windows' planes of one axis of depth beside each other in the channels: N x C x D x H x W becomes
/// N·OD x C·KD x H x W.
ValueId planes_as_channels(Converter& c, ValueId src, const Window& window) {
    const Shape from = c.shape(src);
    if (window.before[0] != 0 || window.after[0] != 0) {
        src = c.add(Pad{{0, 0, window.before[0], 0, 0}, {0, 0, window.after[0], 0, 0}, 0}, {src});
    }
    const int64_t reach = (window.kernel[0] - 1) * window.dilation[0] + 1, extent = c.shape(src)[2];
    if (reach > extent) refuse("its window of {} exceeds an extent of {}", reach, extent);
    const int64_t depth = (extent - reach) / window.stride[0] + 1;
    std::vector<ValueId> planes;
    for (int64_t k = 0; k < window.kernel[0]; ++k) {
        const int64_t begin = k * window.dilation[0], end = begin + (depth - 1) * window.stride[0] + 1;
        const ValueId plane = c.add(Slice{2, begin, end, window.stride[0]}, {src});
        planes.push_back(reshape(c, plane, {from[0], from[1], 1, depth, from[3], from[4]}));
    }
    const ValueId all = planes.size() == 1 ? planes[0] : c.add(Concat{2}, planes);
    const ValueId moved = c.add(Transpose{{0, 3, 1, 2, 4, 5}}, {all});
    return reshape(c, moved, {from[0] * depth, from[1] * window.kernel[0], from[3], from[4]});
}

void conv_over_volume(Converter& c, const NodeView& node, ValueId src, const Constant& kernel,
                      const Window& window, int64_t groups) {
    const int64_t batch = c.shape(src)[0];
    const ValueId planes = planes_as_channels(c, src, window);
    Window flat = window;
    for (List* const list : {&flat.stride, &flat.dilation, &flat.before, &flat.after})
        list->erase(list->begin());
    const Shape& w = kernel.shape;
    std::vector<ValueId> inputs{planes,
                                c.weights(node, 1, reshaped(kernel, {w[0], w[1] * w[2], w[3], w[4]}))};
    if (node.has_input(2)) inputs.push_back(c.value(node, 2));
    const ValueId maps = c.add(conv_of(flat, groups), std::move(inputs));
    const Shape shape = c.shape(maps);
    const ValueId apart = reshape(c, maps, {batch, shape[0] / batch, shape[1], shape[2], shape[3]});
    c.set(node, 0, c.add(Transpose{{0, 2, 1, 3, 4}}, {apart}));
}

void conv(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const List extents = spatial_extents(c, src, 3);
    const Constant kernel = c.required(node, 1, "weights");
    Window window = window_of_layer(node, kernel, extents);
    const int64_t groups = node.integer("group", 1);
    set_padding(node, extents, window);
    if (extents.size() == 3) return conv_over_volume(c, node, src, kernel, window, groups);
    const bool line = extents.size() == 1;
    const Shape& w = kernel.shape;
    std::vector<ValueId> inputs{with_height(c, src),
                                c.weights(node, 1, line ? reshaped(kernel, {w[0], w[1], 1, w[2]}) : kernel)};
    if (node.has_input(2)) inputs.push_back(c.value(node, 2));
    c.set(node, 0, without_height(c, c.add(conv_of(over_two_axes(window), groups), std::move(inputs)), line));
}

/// I x O/groups x H x W as the weights of the convolution over the stretched input: O x I/groups x H x W,
/// mirrored.
Constant mirrored_weights(const Constant& kernel, int64_t groups) {
    const Shape w = kernel.shape;
    if (groups < 1 || w[0] % groups != 0) refuse("{} channels do not divide into {} groups", w[0], groups);
    const Constant apart = reshaped(kernel, {groups, w[0] / groups, w[1], w[2], w[3]});
    const Constant swapped = transposed(apart, {0, 2, 1, 3, 4});
    return mirrored(reshaped(swapped, {groups * w[1], w[0] / groups, w[2], w[3]}));
}

/// stride - 1 zeros between neighbours.
ValueId stretched(Converter& c, ValueId src, const List& stride) {
    if (stride == List{1, 1}) return src;
    const Shape shape = c.shape(src);
    ValueId value = reshape(c, src, {shape[0], shape[1], shape[2], 1, shape[3], 1});
    value = c.add(Pad{List(6, 0), {0, 0, 0, stride[0] - 1, 0, stride[1] - 1}, 0}, {value});
    value = reshape(c, value, {shape[0], shape[1], shape[2] * stride[0], shape[3] * stride[1]});
    for (const int axis : {2, 3}) {
        const int64_t end = (shape[axis] - 1) * stride[static_cast<size_t>(axis) - 2] + 1;
        if (end < c.shape(value)[axis]) value = c.add(Slice{axis, 0, end, 1}, {value});
    }
    return value;
}

/// Padding of the transposed convolution, and what its output is longer by.
List set_transposed_padding(const NodeView& node, const List& extents, Window& window) {
    const size_t axes = extents.size();
    List more(axes, 0);
    if (const auto given = node.integers("output_padding")) {
        if (given->size() != axes)
            refuse("'output_padding' has {} entries, {} expected", given->size(), axes);
        more = *given;
        for (const int64_t pad : more) {
            if (pad < 0 || pad > most_extent) refuse("'output_padding' of {} is out of range", pad);
        }
    }
    const std::string automatic = node.text("auto_pad", "NOTSET");
    const auto wanted = node.integers("output_shape");
    const bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
    if (!same && !wanted.has_value()) {
        set_padding(node, extents, window);
        return more;
    }
    (void)node.has("pads");
    if (wanted.has_value() && wanted->size() != axes)
        refuse("'output_shape' has {} entries, {} expected", wanted->size(), axes);
    window.before = window.after = List(axes, 0);
    for (size_t axis = 0; axis < axes; ++axis) {
        const int64_t target = wanted.has_value() ? (*wanted)[axis] : extents[axis] * window.stride[axis];
        if (target < 1 || target > most_extent) refuse("'output_shape' of {} is out of range", target);
        const int64_t full = (extents[axis] - 1) * window.stride[axis] + more[axis] +
                             (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        const int64_t total = full - target;
        if (total < 0) refuse("an output of {} exceeds the {} that its input reaches", target, full);
        window.before[axis] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
        window.after[axis] = total - window.before[axis];
    }
    return more;
}

/// A convolution with mirrored weights over the input with zeros between its elements.
void conv_transpose(Converter& c, const NodeView& node) {
    const ValueId given = c.value(node, 0);
    const List extents = spatial_extents(c, given, 2);
    const Constant weights = c.required(node, 1, "weights");
    Window window = window_of_layer(node, weights, extents);
    const int64_t groups = node.integer("group", 1);
    List more = set_transposed_padding(node, extents, window);
    const bool line = extents.size() == 1;
    window = over_two_axes(window);
    if (line) more.insert(more.begin(), 0);
    const Shape& w = weights.shape;
    constexpr int64_t copies = 2;
    if (weights.elements() > c.budget() / copies) refuse("its weights are used too often");
    c.budget() -= copies * weights.elements();
    const Constant kernel =
        mirrored_weights(line ? reshaped(weights, {w[0], w[1], 1, w[2]}) : weights, groups);
    ValueId src = stretched(c, with_height(c, given), window.stride);
    Conv2d conv{.dilation = {window.dilation[0], window.dilation[1]}, .groups = groups};
    for (const size_t axis : {size_t{0}, size_t{1}}) {
        const int64_t reach = (window.kernel[axis] - 1) * window.dilation[axis];
        const int64_t before = reach - window.before[axis], after = reach - window.after[axis] + more[axis];
        conv.padding[axis] = std::max<int64_t>(before, 0);
        conv.padding[axis + 2] = std::max<int64_t>(after, 0);
        const auto place = static_cast<int>(axis) + 2;
        const int64_t extent = c.shape(src)[place];
        const int64_t begin = std::max<int64_t>(-before, 0), end = extent - std::max<int64_t>(-after, 0);
        if (begin >= end) refuse("its padding leaves nothing of axis {}", place);
        if (begin > 0 || end < extent) src = c.add(Slice{place, begin, end, 1}, {src});
    }
    std::vector<ValueId> inputs{src, c.weights(node, 1, kernel)};
    if (node.has_input(2)) inputs.push_back(c.value(node, 2));
    c.set(node, 0, without_height(c, c.add(conv, std::move(inputs)), line));
}

Window window_of_pool(const NodeView& node, const List& extents) {
    if (!node.has("kernel_shape")) refuse("its kernel_shape is missing");
    Window window;
    window.dilation = window_list(node, "dilations", extents.size());
    for (const int64_t dilation : window.dilation) {
        if (dilation != 1) refuse("dilated pools are not supported");
    }
    window.kernel = window_list(node, "kernel_shape", extents.size());
    window.stride = window_list(node, "strides", extents.size());
    set_padding(node, extents, window);
    return window;
}

PoolWindow pool_of(const NodeView& node, const Window& window) {
    return {.kernel = {window.kernel[0], window.kernel[1]},
            .stride = {window.stride[0], window.stride[1]},
            .padding = {window.before[0], window.before[1], window.after[0], window.after[1]},
            .ceil = node.integer("ceil_mode", 0) != 0};
}

/// A pool over a volume as one over its planes and one along its depth.
template <typename Pool>
ValueId pool_volume(Converter& c, ValueId src, const NodeView& node, Window window, const Pool& pool) {
    const Shape from = c.shape(src);
    Window depth;
    const auto first = [](List& list) {
        const int64_t value = list.front();
        list.erase(list.begin());
        return value;
    };
    depth.kernel = {first(window.kernel), 1};
    depth.stride = {first(window.stride), 1};
    depth.before = {first(window.before), 0};
    depth.after = {first(window.after), 0};
    const ValueId flat = reshape(c, src, {from[0], from[1] * from[2], from[3], from[4]});
    const ValueId planes = pool(flat, pool_of(node, window));
    const int64_t height = c.shape(planes)[2], width = c.shape(planes)[3];
    const ValueId lines =
        pool(reshape(c, planes, {from[0], from[1], from[2], height * width}), pool_of(node, depth));
    return reshape(c, lines, {from[0], from[1], c.shape(lines)[2], height, width});
}

template <typename Pool>
void pooled(Converter& c, const NodeView& node, ValueId src, const Window& window, const Pool& pool) {
    if (window.kernel.size() == 3) {
        c.set(node, 0, pool_volume(c, src, node, window, pool));
        return;
    }
    const bool line = window.kernel.size() == 1;
    c.set(node, 0, without_height(c, pool(with_height(c, src), pool_of(node, over_two_axes(window))), line));
}

void max_pool(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const Window window = window_of_pool(node, spatial_extents(c, src, 3));
    pooled(c, node, src, window,
           [&](ValueId maps, const PoolWindow& pool) { return c.add(MaxPool2d{pool}, {maps}); });
}

void average_pool(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const bool count_padding = node.integer("count_include_pad", 0) != 0;
    const Window window = window_of_pool(node, spatial_extents(c, src, 3));
    if (window.kernel.size() == 3 &&
        ((window.padded() && !count_padding) || node.integer("ceil_mode", 0) != 0))
        refuse("a mean over volumes at the border, of as many elements as there are, is not supported");
    pooled(c, node, src, window, [&](ValueId maps, const PoolWindow& pool) {
        return c.add(AveragePool2d{pool, count_padding}, {maps});
    });
}

std::vector<int64_t> behind_channels(const Shape& shape) {
    if (shape.rank() < 3) refuse("its input has {} axes, at least 3 expected", shape.rank());
    List axes;
    for (int axis = 2; axis < shape.rank(); ++axis) axes.push_back(axis);
    return axes;
}

void global_average_pool(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const List axes = behind_channels(c.shape(src));
    c.set(node, 0,
          c.shape(src).rank() == 4 ? c.add(GlobalAveragePool{}, {src})
                                   : c.add(Reduce{axes, true, true}, {src}));
}

void global_max_pool(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    c.set(node, 0, largest(c, src, behind_channels(c.shape(src)), true));
}

}  // namespace

const OperatorTable& window_operators() {
    static const OperatorTable table = {
        {"Conv", conv},
        {"ConvTranspose", conv_transpose},
        {"MaxPool", max_pool},
        {"AveragePool", average_pool},
        {"GlobalAveragePool", global_average_pool},
        {"GlobalMaxPool", global_max_pool},
    };
    return table;
}

}  // namespace enmesh::onnx
