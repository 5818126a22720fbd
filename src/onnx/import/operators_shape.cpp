#include <algorithm>
#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/converter.hpp"

// Operators that move elements without changing them.

namespace enmesh::onnx {
namespace {

constexpr int64_t most_elements = int64_t{1} << 40;

ValueId reshape_to(Converter& c, ValueId src, Shape shape) {
    checked_elements(shape.dims(), most_elements);
    return shape == c.shape(src) ? src : c.add(Reshape{std::move(shape)}, {src});
}

Constant nothing(Shape shape, int axis) {
    shape[axis] = 0;
    return {std::move(shape), proto::TensorProto_DataType_FLOAT, std::make_shared<Tensor>(Shape{0})};
}

ValueId slice_of(Converter& c, ValueId src, int64_t axis, const SliceRange& range) {
    const int64_t extent = c.shape(src)[static_cast<int>(axis)];
    if (range.count < 1) refuse("it leaves nothing of axis {}", axis);
    if (range.begin == 0 && range.count == extent && range.step == 1) return src;
    const int64_t end = range.begin + (range.count - 1) * range.step + 1;
    return c.add(Slice{axis, range.begin, end, range.step}, {src});
}

void identity(Converter& c, const NodeView& node) { c.set(node, 0, c.value(node, 0)); }

void cast(Converter& c, const NodeView& node) {
    const auto to = static_cast<int32_t>(node.integer("to", 0));
    if (to != proto::TensorProto_DataType_FLOAT) refuse("a cast of feature maps to {}", type_name(to));
    identity(c, node);
}

void cast_like(Converter& c, const NodeView& node) {
    const Constant* const like = c.constant(node, 1);
    if (like != nullptr && like->type != proto::TensorProto_DataType_FLOAT)
        refuse("a cast of feature maps to {}", type_name(like->type));
    identity(c, node);
}

void flatten(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    int64_t axis = node.integer("axis", 1);
    if (axis < -shape.rank() || axis > shape.rank())
        refuse("axis {} is out of range for rank {}", axis, shape.rank());
    if (axis < 0) axis += shape.rank();
    int64_t outer = 1;
    for (int i = 0; i < static_cast<int>(axis); ++i) outer *= shape[i];
    c.set(node, 0, reshape_to(c, src, Shape{outer, shape.elements() / outer}));
}

void reshape(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const std::vector<int64_t> target = integers_of(c.required(node, 1, "shape"), "shape");
    c.set(node, 0,
          reshape_to(c, src, reshape_target(c.shape(src), target, node.integer("allowzero", 0) != 0)));
}

std::optional<std::vector<int64_t>> axes_of(Converter& c, const NodeView& node) {
    if (node.has_input(1)) return integers_of(c.required(node, 1, "axes"), "axes");
    return node.integers("axes");
}

void squeeze(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    c.set(node, 0, reshape_to(c, src, squeezed(c.shape(src), axes_of(c, node))));
}

void unsqueeze(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const auto axes = axes_of(c, node);
    if (!axes.has_value()) refuse("its axes are missing");
    c.set(node, 0, reshape_to(c, src, unsqueezed(c.shape(src), *axes)));
}

void transpose(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    Transpose operation;
    for (int i = c.shape(src).rank() - 1; i >= 0; --i) operation.order.push_back(i);
    if (const auto given = node.integers("perm")) operation.order = *given;
    c.set(node, 0, c.add(operation, {src}));
}

void concat(Converter& c, const NodeView& node) {
    std::vector<ValueId> inputs;
    for (int i = 0; i < node.inputs(); ++i) {
        const Constant* const known = c.constant(node, i);
        if (known == nullptr || known->elements() > 0) inputs.push_back(c.value(node, i));
    }
    if (inputs.empty()) refuse("its inputs have no elements");
    const int64_t axis = normal_axis(node.integer("axis", 0), c.shape(inputs[0]).rank());
    c.set(node, 0, inputs.size() == 1 ? inputs[0] : c.add(Concat{axis}, inputs));
}

void slice(Converter& c, const NodeView& node) {
    ValueId src = c.value(node, 0);
    const auto known = [&](int i, const char* what) {
        return node.has_input(i) ? &c.required(node, i, what) : nullptr;
    };
    const SliceLists lists =
        slice_lists(node, known(1, "starts"), known(2, "ends"), known(3, "axes"), known(4, "steps"));
    for (size_t i = 0; i < lists.starts.size(); ++i) {
        const int64_t axis = normal_axis(lists.axes[i], c.shape(src).rank());
        const SliceRange range =
            slice_range(c.shape(src)[static_cast<int>(axis)], lists.starts[i], lists.ends[i], lists.steps[i]);
        if (range.count < 1) {
            c.set(node, 0, nothing(c.shape(src), static_cast<int>(axis)));
            return;
        }
        src = slice_of(c, src, axis, range);
    }
    c.set(node, 0, src);
}

void split(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const int64_t axis = normal_axis(node.integer("axis", 0), c.shape(src).rank());
    const Constant* const sizes = node.has_input(1) ? &c.required(node, 1, "sizes") : nullptr;
    int64_t begin = 0;
    int output = 0;
    for (const int64_t extent : split_extents(node, sizes, c.shape(src)[static_cast<int>(axis)])) {
        if (extent == 0) {
            c.set(node, output++, nothing(c.shape(src), static_cast<int>(axis)));
            continue;
        }
        c.set(node, output++, slice_of(c, src, axis, {begin, extent, 1}));
        begin += extent;
    }
}

/// Parts of one size or of listed sizes; PyTorch's newer exporter writes chunk() so.
void split_to_sequence(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const int64_t axis = normal_axis(node.integer("axis", 0), c.shape(src).rank());
    const int64_t extent = c.shape(src)[static_cast<int>(axis)];
    const Constant& sizes = c.required(node, 1, "sizes");
    if (sizes.real() || sizes.elements() < 1 || sizes.shape.rank() > 1) refuse("its sizes are no integers");
    std::vector<ValueId> parts;
    const auto take = [&](int64_t begin, int64_t count) {
        constexpr size_t most_parts = 1024;
        if (count < 1 || count > extent - begin || parts.size() == most_parts)
            refuse("its sizes do not fit an extent of {}", extent);
        parts.push_back(slice_of(c, src, axis, {begin, count, 1}));
        return begin + count;
    };
    int64_t begin = 0;
    if (sizes.shape.rank() == 0) {
        while (begin < extent) begin = take(begin, std::min(sizes.integer(0), extent - begin));
    } else {
        for (const int64_t size : sizes.integers()) begin = take(begin, size);
    }
    c.set_sequence(node, std::move(parts));
}

void sequence_at(Converter& c, const NodeView& node) {
    const std::vector<ValueId>& parts = c.sequence(node, 0);
    const auto index = c.scalar(node, 1);
    if (!index.has_value()) refuse("its position must be a known number");
    const auto count = static_cast<double>(parts.size());
    const double at = *index < 0 ? *index + count : *index;
    if (!(at >= 0 && at < count)) refuse("position {} is out of range for {} parts", *index, parts.size());
    c.set(node, 0, parts[static_cast<size_t>(at)]);
}

/// Runs of consecutive indices become slices.
void gather(Converter& c, const NodeView& node) {
    constexpr size_t most_runs = 64;
    const ValueId src = c.value(node, 0);
    const Shape shape = c.shape(src);
    const int64_t axis = normal_axis(node.integer("axis", 0), shape.rank());
    const int64_t extent = shape[static_cast<int>(axis)];
    const Constant& indices = c.required(node, 1, "indices");
    if (indices.real() || indices.elements() < 1) refuse("its indices are no integers");
    std::vector<SliceRange> runs;
    for (const int64_t index : indices.integers()) {
        const int64_t at = index < 0 ? index + extent : index;
        if (at < 0 || at >= extent) refuse("index {} is out of range for an extent of {}", index, extent);
        if (!runs.empty() && runs.back().begin + runs.back().count == at) {
            ++runs.back().count;
        } else {
            runs.push_back({at, 1, 1});
        }
        if (runs.size() > most_runs) refuse("more than {} scattered indices are not supported", most_runs);
    }
    std::vector<ValueId> parts;
    for (const SliceRange& run : runs) parts.push_back(slice_of(c, src, axis, run));
    const ValueId picked = parts.size() == 1 ? parts[0] : c.add(Concat{axis}, parts);
    std::vector<int64_t> dims(shape.begin(), shape.begin() + axis);
    dims.insert(dims.end(), indices.shape.begin(), indices.shape.end());
    dims.insert(dims.end(), shape.begin() + axis + 1, shape.end());
    c.set(node, 0, reshape_to(c, picked, Shape(std::move(dims))));
}

void expand(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const Shape from = c.shape(src);
    const Shape target(integers_of(c.required(node, 1, "shape"), "shape"));
    checked_elements(target.dims(), most_elements);
    const Shape shape = broadcast_shape(from, target);
    checked_elements(shape.dims(), most_elements);
    if (shape == from) {
        c.set(node, 0, src);
        return;
    }
    const bool per_image = shape[0] == c.batch() && (from.rank() < shape.rank() || from[0] == 1);
    c.set(node, 0, c.add(Expand{shape, per_image}, {src}));
}

void tile(Converter& c, const NodeView& node) {
    const ValueId src = c.value(node, 0);
    const Shape from = c.shape(src);
    const std::vector<int64_t> repeats = integers_of(c.required(node, 1, "repeats"), "repeats");
    if (static_cast<int>(repeats.size()) != from.rank())
        refuse("its repeats do not fit rank {}", from.rank());
    Shape shape = from;
    for (int i = 0; i < from.rank(); ++i) {
        const int64_t times = repeats[static_cast<size_t>(i)];
        if (times != 1 && from[i] != 1) refuse("repeats axes of extent 1 only");
        if (times < 1) refuse("it leaves nothing of axis {}", i);
        if (times != 1) shape[i] = times;
    }
    checked_elements(shape.dims(), most_elements);
    const bool per_image = shape != from && shape[0] == c.batch() && from[0] == 1;
    c.set(node, 0, shape == from ? src : c.add(Expand{shape, per_image}, {src}));
}

void pad(Converter& c, const NodeView& node) {
    constexpr int64_t most_padding = int64_t{1} << 20;
    ValueId src = c.value(node, 0);
    const int rank = c.shape(src).rank();
    const std::string mode = node.text("mode", "constant");
    if (mode != "constant") refuse("mode '{}' is not supported", mode);
    const auto listed = node.integers("pads");
    const std::vector<int64_t> pads =
        listed.has_value() ? *listed : integers_of(c.required(node, 1, "pads"), "pads");
    std::vector<int64_t> axes;
    for (int i = 0; i < rank; ++i) axes.push_back(i);
    if (node.has_input(3)) axes = integers_of(c.required(node, 3, "axes"), "axes");
    if (pads.size() != 2 * axes.size()) refuse("{} pads for {} axes", pads.size(), axes.size());
    std::vector<bool> named(static_cast<size_t>(rank), false);
    Pad operation{std::vector<int64_t>(static_cast<size_t>(rank), 0),
                  std::vector<int64_t>(static_cast<size_t>(rank), 0),
                  node.has_input(2) ? c.scalar(node, 2).value_or(std::numeric_limits<double>::quiet_NaN())
                                    : node.real("value", 0)};
    if (!(operation.value == operation.value)) refuse("its value must be a known number");
    for (size_t i = 0; i < axes.size(); ++i) {
        const auto axis = static_cast<size_t>(normal_axis(axes[i], rank));
        if (named[axis]) refuse("an axis is named twice");
        named[axis] = true;
        const int64_t before = pads[i], after = pads[i + axes.size()];
        if (before < -most_padding || before > most_padding || after < -most_padding || after > most_padding)
            refuse("a padding of {} and {} is out of range", before, after);
        operation.before[axis] = std::max<int64_t>(before, 0);
        operation.after[axis] = std::max<int64_t>(after, 0);
        const int64_t extent = c.shape(src)[static_cast<int>(axis)];
        const int64_t cut = std::max<int64_t>(-before, 0),
                      count = extent - cut - std::max<int64_t>(-after, 0);
        src = slice_of(c, src, static_cast<int64_t>(axis), {cut, count, 1});
    }
    const auto positive = [](int64_t extent) { return extent > 0; };
    const bool pads_any = std::any_of(operation.before.begin(), operation.before.end(), positive) ||
                          std::any_of(operation.after.begin(), operation.after.end(), positive);
    c.set(node, 0, pads_any ? c.add(operation, {src}) : src);
}

/// A condition that is known and the same everywhere chooses one side.
void where(Converter& c, const NodeView& node) {
    const Constant& condition = c.required(node, 0, "condition");
    if (condition.real() || condition.elements() < 1) refuse("its condition is not boolean");
    const bool first = condition.integer(0) != 0;
    for (const int64_t value : condition.integers()) {
        if ((value != 0) != first) refuse("a choice that differs between elements is not supported");
    }
    const ValueId chosen = c.value(node, first ? 1 : 2), other = c.value(node, first ? 2 : 1);
    const Shape shape = broadcast_shape(broadcast_shape(c.shape(chosen), c.shape(other)), condition.shape);
    checked_elements(shape.dims(), most_elements);
    c.set(node, 0, shape == c.shape(chosen) ? chosen : c.add(Expand{shape, false}, {chosen}));
}

}  // namespace

const OperatorTable& shape_operators() {
    static const OperatorTable table = {
        {"Identity", identity},
        {"Cast", cast},
        {"CastLike", cast_like},
        {"Flatten", flatten},
        {"Reshape", reshape},
        {"Squeeze", squeeze},
        {"Unsqueeze", unsqueeze},
        {"Transpose", transpose},
        {"Concat", concat},
        {"Slice", slice},
        {"Split", split},
        {"SplitToSequence", split_to_sequence},
        {"SequenceAt", sequence_at},
        {"Gather", gather},
        {"Expand", expand},
        {"Tile", tile},
        {"Pad", pad},
        {"Where", where},
    };
    return table;
}

}  // namespace enmesh::onnx
