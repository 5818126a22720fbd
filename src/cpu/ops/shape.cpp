#include <algorithm>

#include "cpu/ops/runs.hpp"
#include "cpu/ops/strided.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {
namespace {

/// Where part of an axis begins in memory, and how far apart its elements lie.
struct AxisPart {
    int axis;
    int64_t begin, step;
};

/// Whether the part consists of whole blocks of lanes, or of an axis that is not split into lanes.
bool fits_lanes(Layout layout, const AxisPart& part, int64_t extent) {
    const LaneSplit split(layout);
    if (layout.plain() || part.axis != split.axis) return true;
    return part.step == 1 && part.begin % split.block == 0 && extent % split.block == 0;
}

/// A copy between `part` of a value of shape `whole` and all of a value of shape `part_shape`, in one layout.
/// Operand `whole_operand` (0: dst, 1: src) is the whole; `offset` is where the part begins in it.
struct PartCopy {
    StridedCopy copy;
    int64_t offset;
};
PartCopy part_copy(const Shape& whole, const Shape& part_shape, const AxisPart& part, Layout layout,
                   size_t whole_operand) {
    const LaneSplit split(layout);
    const auto axis = static_cast<size_t>(part.axis);
    std::vector<int64_t> in_whole = split_strides(whole, layout, whole.rank(), split);
    const bool lanes_split = split.block > 1 && part.axis == split.axis;
    const int64_t offset = part.begin / (lanes_split ? split.block : 1) * in_whole[axis];
    in_whole[axis] *= part.step;
    std::vector<std::vector<int64_t>> strides{in_whole,
                                              split_strides(part_shape, layout, whole.rank(), split)};
    if (whole_operand == 1) std::swap(strides[0], strides[1]);
    return {StridedCopy(make_loops(part_shape, split, std::move(strides))), offset};
}

/// The value's own layout where the part fits its lanes.
Layout layout_for(const Machine& machine, ValueId value, const AxisPart& part, int64_t extent) {
    const Layout own = machine.slot(machine.slot_of(value)).layout;
    return fits_lanes(own, part, extent) ? own : plain_layout;
}

void fill(float* to, int64_t elements, float value) {
    over_elements(elements, [&](int64_t at, int64_t count) { std::fill(to + at, to + at + count, value); });
}

void add_copy(Machine& machine, const Node& node, int src, int dst, const StridedCopy& copy,
              int64_t src_offset = 0) {
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, copy, src_offset](const RunContext&) {
        copy.run(machine.f32(src) + src_offset, machine.f32(dst));
    });
}

/// dst = src somewhere within a border.
void add_bordered(Machine& machine, const Node& node, int src, int dst, const StridedCopy& copy,
                  int64_t dst_offset, float border) {
    const int64_t elements = machine.slot(dst).type.shape.elements();
    machine.add(node, Kind::other, {src}, {dst},
                [&machine, src, dst, copy, dst_offset, border, elements](const RunContext&) {
                    fill(machine.f32(dst), elements, border);
                    copy.run(machine.f32(src), machine.f32(dst) + dst_offset);
                });
}

/// Whether images (and in the channel layout channels) are the same before and after, so that blocks stay
/// blocks.
bool keeps_lanes(Layout layout, const Shape& from, const Shape& to) {
    const int last = LaneSplit(layout).axis;
    if (from.rank() < 2 || to.rank() < 2) return false;
    for (int axis = 0; axis <= last; ++axis) {
        if (from[axis] != to[axis]) return false;
    }
    return true;
}

/// Maps go into the network's layout, everything else stays plain.
Layout map_layout_for(const Machine& machine, const Shape& shape) {
    const Layout layout = machine.map_layout();
    const LaneSplit split(layout);
    return shape.rank() == 4 && shape[split.axis] % split.block == 0 ? layout : plain_layout;
}

/// Rearrangements that leave the pixels in place keep the images' lanes; channels that come back from the
/// last axis are about to be convolved; everything else works on rows.
Layout transposed_layout(const Machine& machine, Layout src, const Transpose& op, const Shape& dst) {
    const auto rank = static_cast<int64_t>(op.order.size());
    const bool images_stay = op.order[0] == 0;
    if (!src.plain() && src.lanes == Layout::Lanes::images && images_stay && op.order.back() == rank - 1)
        return src;
    const bool images = machine.map_layout().lanes == Layout::Lanes::images;
    if (images && op.order == std::vector<int64_t>{0, 3, 1, 2}) return map_layout_for(machine, dst);
    return plain_layout;
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const Reshape& op) {
    const Slot& from = machine.slot(machine.slot_of(node.inputs[0]));
    const Layout layout = keeps_lanes(from.layout, from.type.shape, op.shape) ? from.layout : plain_layout;
    const int src = machine.in(node.inputs[0], layout), dst = machine.out(node.outputs[0], layout);
    machine.slot(dst).alias = src;
}

template <>
void lower(Machine& machine, const Node& node, const Transpose& op) {
    const int src = machine.slot_of(node.inputs[0]);
    const Shape from = machine.slot(src).type.shape, to = machine.graph().type(node.outputs[0]).shape;
    const Layout src_layout = machine.slot(src).layout;
    const Layout dst_layout =
        from.rank() == 0 ? plain_layout : transposed_layout(machine, src_layout, op, to);
    const int dst = machine.out(node.outputs[0], dst_layout);
    // Loops run over dst's axes; the lanes of a blocked src are those of the axis it moves to.
    LaneSplit split(src_layout.plain() ? dst_layout : src_layout);
    const std::vector<int64_t> in_src = split_strides(from, src_layout, from.rank(), split);
    std::vector<int64_t> moved;
    for (const int64_t axis : op.order) moved.push_back(in_src[static_cast<size_t>(axis)]);
    if (split.block > 1) {
        moved.push_back(in_src.back());
        const auto place = std::find(op.order.begin(), op.order.end(), split.axis);
        split.axis = static_cast<int>(place - op.order.begin());
    }
    const std::vector<int64_t> in_dst = split_strides(to, dst_layout, to.rank(), split);
    add_copy(machine, node, src, dst, StridedCopy(make_loops(to, split, {in_dst, moved})));
}

template <>
void lower(Machine& machine, const Node& node, const Slice& op) {
    const Shape whole = machine.graph().type(node.inputs[0]).shape,
                part_shape = machine.graph().type(node.outputs[0]).shape;
    const AxisPart part{static_cast<int>(op.axis), op.begin, op.step};
    const Layout layout = layout_for(machine, node.inputs[0], part, part_shape[part.axis]);
    const int src = machine.in(node.inputs[0], layout), dst = machine.out(node.outputs[0], layout);
    const PartCopy copy = part_copy(whole, part_shape, part, layout, 1);
    add_copy(machine, node, src, dst, copy.copy, copy.offset);
}

template <>
void lower(Machine& machine, const Node& node, const SliceBackward& op) {
    const Shape part_shape = machine.graph().type(node.inputs[0]).shape;
    const AxisPart part{static_cast<int>(op.slice.axis), op.slice.begin, op.slice.step};
    Layout layout = layout_for(machine, node.inputs[0], part, part_shape[part.axis]);
    const LaneSplit split(layout);
    if (!layout.plain() && op.src[split.axis] % split.block != 0) layout = plain_layout;
    const int diff_dst = machine.in(node.inputs[0], layout), diff_src = machine.out(node.outputs[0], layout);
    const PartCopy copy = part_copy(op.src, part_shape, part, layout, 0);
    add_bordered(machine, node, diff_dst, diff_src, copy.copy, copy.offset, 0);
}

template <>
void lower(Machine& machine, const Node& node, const Concat& op) {
    const int axis = static_cast<int>(op.axis);
    const auto slot_of = [&](ValueId input) -> const Slot& { return machine.slot(machine.slot_of(input)); };
    // The layout of the largest input, unless its lanes run along the axis and another input has none.
    const ValueId largest =
        *std::max_element(node.inputs.begin(), node.inputs.end(), [&](ValueId a, ValueId b) {
            return slot_of(a).type.shape.elements() < slot_of(b).type.shape.elements();
        });
    Layout layout = slot_of(largest).layout;
    const bool lanes_run_along = !layout.plain() && LaneSplit(layout).axis == axis;
    const bool all_alike = std::all_of(node.inputs.begin(), node.inputs.end(),
                                       [&](ValueId input) { return slot_of(input).layout == layout; });
    if (lanes_run_along && !all_alike) layout = plain_layout;
    std::vector<int> sources;
    for (const ValueId input : node.inputs) sources.push_back(machine.in(input, layout));
    const int dst = machine.out(node.outputs[0], layout);
    const Shape whole = machine.graph().type(node.outputs[0]).shape;
    std::vector<PartCopy> copies;
    int64_t begin = 0;
    for (const int source : sources) {
        const Shape& shape = machine.slot(source).type.shape;
        copies.push_back(part_copy(whole, shape, {axis, begin, 1}, layout, 0));
        begin += shape[axis];
    }
    machine.add(node, Kind::other, sources, {dst}, [&machine, sources, copies, dst](const RunContext&) {
        for (size_t i = 0; i < sources.size(); ++i)
            copies[i].copy.run(machine.f32(sources[i]), machine.f32(dst) + copies[i].offset);
    });
}

template <>
void lower(Machine& machine, const Node& node, const Expand& op) {
    const Layout layout = map_layout_for(machine, op.shape);
    int src = machine.slot_of(node.inputs[0]);
    const bool as_it_lies =
        machine.slot(src).layout == layout && machine.slot(src).type.shape.rank() == op.shape.rank();
    if (!as_it_lies) src = machine.in_plain(node.inputs[0]);
    const int dst = machine.out(node.outputs[0], layout);
    const LaneSplit split(layout);
    const int rank = op.shape.rank();
    const auto from = split_strides(machine.slot(src).type.shape, machine.slot(src).layout, rank, split);
    const auto to = split_strides(op.shape, layout, rank, split);
    add_copy(machine, node, src, dst, StridedCopy(make_loops(op.shape, split, {to, from})));
}

template <>
void lower(Machine& machine, const Node& node, const Pad& op) {
    const Layout own = machine.slot(machine.slot_of(node.inputs[0])).layout;
    const auto lane_axis = static_cast<size_t>(LaneSplit(own).axis);
    const bool blocks_stay = own.plain() || (op.before[lane_axis] == 0 && op.after[lane_axis] == 0);
    const Layout layout = blocks_stay ? own : plain_layout;
    const int src = machine.in(node.inputs[0], layout), dst = machine.out(node.outputs[0], layout);
    const Shape from = machine.slot(src).type.shape, to = machine.slot(dst).type.shape;
    const LaneSplit split(layout);
    const std::vector<int64_t> in_dst = split_strides(to, layout, to.rank(), split),
                               in_src = split_strides(from, layout, from.rank(), split);
    int64_t offset = 0;  // the lanes' axis has no border
    for (size_t axis = 0; axis < op.before.size(); ++axis) offset += op.before[axis] * in_dst[axis];
    add_bordered(machine, node, src, dst, StridedCopy(make_loops(from, split, {in_dst, in_src})), offset,
                 static_cast<float>(op.value));
}

}  // namespace enmesh::cpu
