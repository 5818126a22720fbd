#include <algorithm>
#include <cmath>
#include <numeric>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"

// Resize and Upsample: along each axis every output element is a sum of one or two input elements.

namespace enmesh::onnx {
namespace {

constexpr int64_t most_extent = int64_t{1} << 16;

struct Rule {
    std::string mode, coordinates, nearest;
    bool old = false;  ///< before operator set 11: no coordinate modes, and downwards the next element above
};

/// Where element `at` of the result lies in the source. In float32, as ONNX Runtime has it: ties depend on
/// it.
float source_position(const Rule& rule, int64_t at, int64_t from, int64_t to, float scale) {
    const auto x = static_cast<float>(at), in = static_cast<float>(from), out = static_cast<float>(to);
    if (rule.coordinates == "asymmetric") return x / scale;
    if (rule.coordinates == "half_pixel") return (x + 0.5F) / scale - 0.5F;
    if (rule.coordinates == "pytorch_half_pixel") return to > 1 ? (x + 0.5F) / scale - 0.5F : 0.0F;
    if (rule.coordinates == "tf_half_pixel_for_nn") return (x + 0.5F) / scale;
    if (rule.coordinates == "align_corners") return to == 1 ? 0.0F : x * (in - 1) / (out - 1);
    if (rule.coordinates == "half_pixel_symmetric") {
        const float adjustment = out / (scale * in), center = in / 2;
        return center * (1 - adjustment) + (x + 0.5F) / scale - 0.5F;
    }
    refuse("coordinate_transformation_mode '{}' is not supported", rule.coordinates);
}

int64_t nearest_of(const Rule& rule, float x, float scale) {
    if (rule.old) return static_cast<int64_t>(scale < 1 ? std::ceil(x) : std::floor(x));
    if (rule.nearest == "floor") return static_cast<int64_t>(std::floor(x));
    if (rule.nearest == "ceil") return static_cast<int64_t>(std::ceil(x));
    const bool tie = x - std::floor(x) == 0.5F;
    if (rule.nearest == "round_prefer_floor")
        return static_cast<int64_t>(tie ? std::floor(x) : std::round(x));
    if (rule.nearest == "round_prefer_ceil") return static_cast<int64_t>(tie ? std::ceil(x) : std::round(x));
    refuse("nearest_mode '{}' is unknown", rule.nearest);
}

/// to x from: how much of each source element a result element takes.
Tensor weights_of(const Rule& rule, int64_t from, int64_t to, float scale) {
    Tensor weights(Shape{to, from});
    const std::span<float> values = weights.f32();
    for (int64_t at = 0; at < to; ++at) {
        const float x = source_position(rule, at, from, to, scale);
        const auto row = static_cast<size_t>(at * from);
        if (rule.mode == "nearest") {
            values[row + static_cast<size_t>(std::clamp<int64_t>(nearest_of(rule, x, scale), 0, from - 1))] =
                1;
            continue;
        }
        const float inside = std::clamp(x, 0.0F, static_cast<float>(from - 1));
        const auto low = static_cast<int64_t>(inside);
        const int64_t high = std::min(low + 1, from - 1);
        const float part = inside - static_cast<float>(low);
        values[row + static_cast<size_t>(low)] += 1 - part;
        values[row + static_cast<size_t>(high)] += part;
    }
    return weights;
}

/// How often each element is repeated, where that is all that happens.
int64_t repeats_of(const Tensor& weights) {
    const int64_t to = weights.shape()[0], from = weights.shape()[1];
    if (to % from != 0) return 0;
    for (int64_t at = 0; at < to; ++at) {
        if (weights.f32()[static_cast<size_t>(at * from + at / (to / from))] != 1) return 0;
    }
    return to / from;
}

ValueId along_axis(Converter& c, ValueId src, int axis, Tensor weights) {
    const Shape shape = c.shape(src);
    if (const int64_t repeats = repeats_of(weights); repeats > 0) {
        std::vector<int64_t> dims(shape.begin(), shape.begin() + axis + 1), wide;
        dims.push_back(1);
        dims.insert(dims.end(), shape.begin() + axis + 1, shape.end());
        wide = dims;
        wide[static_cast<size_t>(axis) + 1] = repeats;
        Shape result = shape;
        result[axis] *= repeats;
        checked_elements(wide, int64_t{1} << 40);
        const ValueId apart = c.add(Reshape{Shape(std::move(dims))}, {src});
        return c.add(Reshape{result}, {c.add(Expand{Shape(std::move(wide)), false}, {apart})});
    }
    Transpose swap{std::vector<int64_t>(static_cast<size_t>(shape.rank()))};
    std::iota(swap.order.begin(), swap.order.end(), 0);
    std::swap(swap.order[static_cast<size_t>(axis)], swap.order.back());
    const bool last = axis == shape.rank() - 1;
    const ValueId rows = last ? src : c.add(swap, {src});
    const ValueId product = c.add(Linear{}, {rows, c.add_constant(std::move(weights))});
    return last ? product : c.add(swap, {product});
}

std::vector<float> scales_of(Converter& c, const NodeView& node, int input) {
    if (const auto given = node.reals("scales")) return *given;  // Upsample before operator set 9
    const Constant& scales = c.required(node, input, "scales");
    const std::span<const float> values = scales.reals();
    return {values.begin(), values.end()};
}

void resize_to(Converter& c, const NodeView& node, const Rule& rule, const std::vector<int64_t>& axes,
               const std::vector<int64_t>& extents, const std::vector<float>& scales) {
    ValueId value = c.value(node, 0);
    for (size_t i = 0; i < axes.size(); ++i) {
        const auto axis = static_cast<int>(normal_axis(axes[i], c.shape(value).rank()));
        const int64_t from = c.shape(value)[axis], to = extents[i];
        if (to < 1 || to > most_extent || from > most_extent) refuse("an extent of {} is out of range", to);
        if (to == from && scales[i] == 1) continue;
        if (axis == 0) refuse("it resizes across images");
        c.budget() -= from * to;
        if (c.budget() < 0) refuse("its interpolation is larger than a file of this size should ask for");
        value = along_axis(c, value, axis, weights_of(rule, from, to, scales[i]));
    }
    c.set(node, 0, value);
}

Rule rule_of(const NodeView& node) {
    constexpr int64_t coordinate_modes_since = 11;
    Rule rule{node.text("mode", "nearest"), "asymmetric", "floor",
              node.opset() < coordinate_modes_since || node.type() == "Upsample"};
    if (!rule.old) {
        rule.coordinates = node.text("coordinate_transformation_mode", "half_pixel");
        rule.nearest = node.text("nearest_mode", "round_prefer_floor");
        (void)node.real("extrapolation_value", 0);  // of tf_crop_and_resize, which is refused
        (void)node.real("cubic_coeff_a", 0);        // of cubic, which is refused
        (void)node.integer("exclude_outside", 0);
        if (node.integer("antialias", 0) != 0) refuse("antialias = 1 is not supported");
        if (node.text("keep_aspect_ratio_policy", "stretch") != "stretch")
            refuse("keep_aspect_ratio_policy other than 'stretch' is not supported");
    }
    if (rule.mode != "nearest" && rule.mode != "linear")
        refuse("mode '{}' is not supported; nearest and linear are", rule.mode);
    return rule;
}

void resize(Converter& c, const NodeView& node) {
    const Rule rule = rule_of(node);
    const Shape shape = c.shape(c.value(node, 0));
    std::vector<int64_t> axes(static_cast<size_t>(shape.rank()));
    std::iota(axes.begin(), axes.end(), 0);
    if (const auto given = node.integers("axes")) axes = *given;
    std::vector<int64_t> extents;
    std::vector<float> scales;
    const bool by_sizes = !rule.old && node.has_input(3) && c.required(node, 3, "sizes").elements() > 0;
    if (by_sizes) {
        extents = integers_of(c.required(node, 3, "sizes"), "sizes");
    } else {
        scales = scales_of(c, node, rule.old ? 1 : 2);
    }
    const size_t count = by_sizes ? extents.size() : scales.size();
    if (count != axes.size()) refuse("{} sizes or scales for {} axes", count, axes.size());
    for (size_t i = 0; i < count; ++i) {
        const int64_t from = shape[static_cast<int>(normal_axis(axes[i], shape.rank()))];
        if (by_sizes) {
            scales.push_back(static_cast<float>(extents[i]) / static_cast<float>(from));
        } else {
            if (!(scales[i] > 0 && scales[i] <= static_cast<float>(most_extent)))
                refuse("a scale of {}", scales[i]);
            extents.push_back(static_cast<int64_t>(std::floor(static_cast<float>(from) * scales[i])));
        }
    }
    resize_to(c, node, rule, axes, extents, scales);
}

}  // namespace

const OperatorTable& resize_operators() {
    static const OperatorTable table = {
        {"Resize", resize},
        {"Upsample", resize},
    };
    return table;
}

}  // namespace enmesh::onnx
