#include "sparsity/permute/channel_rules.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "enmesh/graph/operations.hpp"

namespace enmesh {
namespace {

using Results = std::vector<AxisOrders>;

void fix_all(ChannelCarrier& c, const AxisOrders& axes) {
    for (const ChannelOrder& axis : axes) c.orders.fix(axis, c.where());
}

AxisOrders fixed_axes(ChannelCarrier& c, const Shape& shape) {
    AxisOrders axes;
    for (const int64_t extent : shape) axes.push_back(c.orders.fixed(extent, c.where()));
    return axes;
}

/// What no rule is known for lets no order but the one there is.
Results barrier(ChannelCarrier& c) {
    for (const AxisOrders& input : c.inputs) fix_all(c, input);
    Results results;
    for (size_t i = 0; i < c.node.outputs.size(); ++i) results.push_back(fixed_axes(c, c.result_shape(i)));
    return results;
}

/// Every result with the orders of the first input, which has its shape.
Results same(ChannelCarrier& c) { return Results(c.node.outputs.size(), c.inputs[0]); }

/// NumPy's broadcasting: axes that meet move alike.
Results elementwise(ChannelCarrier& c) {
    const Shape& shape = c.result_shape();
    AxisOrders result(static_cast<size_t>(shape.rank()));
    for (int axis = 0; axis < shape.rank(); ++axis) {
        ChannelOrder& to = result[static_cast<size_t>(axis)];
        for (size_t input = 0; input < c.inputs.size(); ++input) {
            const int own = axis - (shape.rank() - c.shape(input).rank());
            if (own < 0 || c.shape(input)[own] != shape[axis]) continue;
            const ChannelOrder& from = c.inputs[input][static_cast<size_t>(own)];
            if (to.empty()) {
                to = from;
            } else {
                c.orders.unify(to, from, c.where());
            }
        }
    }
    return {result};
}

/// The orders of windows' positions: fixed, and so are those that the windows slide over.
void slide(ChannelCarrier& c, AxisOrders& axes) {
    for (size_t axis = 2; axis < axes.size(); ++axis) {
        c.orders.fix(axes[axis], c.where());
        axes[axis] = c.orders.fixed(c.result_shape()[static_cast<int>(axis)], "positions of a map");
    }
}

Results pooled(ChannelCarrier& c) {
    AxisOrders axes = c.inputs[0];
    slide(c, axes);
    return Results(c.node.outputs.size(), axes);
}

/// dst from src and weights [outputs][inputs] and a bias: what both products share.
void meet_bias(ChannelCarrier& c, const ChannelOrder& outputs) {
    if (c.inputs.size() > 2) c.orders.unify(outputs, c.inputs[2][0], c.where());
}

Results rule(const Conv2d& conv, ChannelCarrier& c) {
    const AxisOrders& weights = c.inputs[1];
    AxisOrders result = c.inputs[0];
    const int64_t outputs = c.shape(1)[0];
    slide(c, result);
    c.orders.fix(weights[2], "positions of a kernel");
    c.orders.fix(weights[3], "positions of a kernel");
    if (conv.groups == 1) {
        c.orders.unify(c.inputs[0][1], weights[1], c.where());
    } else if (c.shape(1)[1] == 1) {
        ChannelOrder each = c.orders.resolved(c.inputs[0][1]);
        for (ChannelRun& run : each) run.inner *= outputs / conv.groups;
        c.orders.unify(each, weights[0], c.where());
    } else {
        // Channels move inside their group: the inputs of all groups alike, since the weights have one axis
        // for them all, and the outputs of each group by themselves.
        const int64_t inputs = c.shape(1)[1];
        for (int64_t group = 0; group < conv.groups; ++group) {
            const ChannelOrder part =
                c.orders.slice(c.inputs[0][1], group * inputs, (group + 1) * inputs, c.where());
            c.orders.unify(part, weights[1], c.where());
            const int64_t each = outputs / conv.groups;
            c.orders.slice(weights[0], group * each, (group + 1) * each, c.where());
        }
    }
    meet_bias(c, weights[0]);
    result[1] = weights[0];
    return {result};
}

Results rule(const Linear&, ChannelCarrier& c) {
    AxisOrders result = c.inputs[0];
    c.orders.unify(result.back(), c.inputs[1][1], c.where());
    meet_bias(c, c.inputs[1][0]);
    result.back() = c.inputs[1][0];
    return {result};
}

Results rule(const MatMul& product, ChannelCarrier& c) {
    const AxisOrders &a = c.inputs[0], &b = c.inputs[1];
    const size_t rank = a.size();
    const auto axis = [&](const AxisOrders& axes, bool last) { return axes[rank - (last ? 1 : 2)]; };
    c.orders.unify(axis(a, !product.transpose_a), axis(b, product.transpose_b), c.where());
    AxisOrders result = a;
    for (size_t i = 0; i + 2 < rank; ++i) c.orders.unify(a[i], b[i], c.where());
    result[rank - 2] = axis(a, product.transpose_a);
    result[rank - 1] = axis(b, !product.transpose_b);
    return {result};
}

Results rule(const BatchNorm&, ChannelCarrier& c) {
    for (size_t i = 1; i < c.inputs.size(); ++i) c.orders.unify(c.inputs[0][1], c.inputs[i][0], c.where());
    Results results{c.inputs[0]};
    while (results.size() < c.node.outputs.size()) results.push_back({c.inputs[0][1]});
    return results;
}

/// Mean and variance over a row do not depend on its order.
Results rule(const LayerNorm&, ChannelCarrier& c) {
    const AxisOrders& src = c.inputs[0];
    for (size_t i = 1; i < c.inputs.size(); ++i) c.orders.unify(src.back(), c.inputs[i][0], c.where());
    Results results{src};
    while (results.size() < c.node.outputs.size())
        results.push_back(fixed_axes(c, c.result_shape(results.size())));
    return results;
}

Results rule(const Softmax&, ChannelCarrier& c) { return same(c); }
Results rule(const Relu&, ChannelCarrier& c) { return same(c); }
Results rule(const Gelu&, ChannelCarrier& c) { return same(c); }
Results rule(const Unary&, ChannelCarrier& c) { return same(c); }
Results rule(const Scale&, ChannelCarrier& c) { return same(c); }
Results rule(const Dropout&, ChannelCarrier& c) { return same(c); }
Results rule(const Add&, ChannelCarrier& c) { return elementwise(c); }
Results rule(const Subtract&, ChannelCarrier& c) { return elementwise(c); }
Results rule(const Multiply&, ChannelCarrier& c) { return elementwise(c); }
Results rule(const Divide&, ChannelCarrier& c) { return elementwise(c); }
Results rule(const MaxPool2d&, ChannelCarrier& c) { return pooled(c); }
Results rule(const AveragePool2d&, ChannelCarrier& c) { return pooled(c); }

/// A mean does not depend on the order of what it is taken over.
Results rule(const GlobalAveragePool&, ChannelCarrier& c) {
    const ChannelOrder one = c.orders.fixed(1, "a single position");
    return {{c.inputs[0][0], c.inputs[0][1], one, one}};
}

Results rule(const Reduce& reduce, ChannelCarrier& c) {
    AxisOrders result;
    for (int axis = 0; axis < c.shape(0).rank(); ++axis) {
        const bool reduced = std::find(reduce.axes.begin(), reduce.axes.end(), axis) != reduce.axes.end();
        if (!reduced) result.push_back(c.inputs[0][static_cast<size_t>(axis)]);
        if (reduced && reduce.keep) result.push_back(c.orders.fixed(1, "a single position"));
    }
    return {result};
}

Results rule(const Transpose& transpose, ChannelCarrier& c) {
    AxisOrders result;
    for (const int64_t axis : transpose.order) result.push_back(c.inputs[0][static_cast<size_t>(axis)]);
    return {result};
}

Results rule(const Concat& concat, ChannelCarrier& c) {
    AxisOrders result = c.inputs[0];
    for (size_t axis = 0; axis < result.size(); ++axis) {
        std::vector<ChannelOrder> parts;
        for (const AxisOrders& input : c.inputs) parts.push_back(input[axis]);
        if (static_cast<int64_t>(axis) == concat.axis) {
            result[axis] = c.orders.concatenated(parts, c.where());
            continue;
        }
        for (const ChannelOrder& part : parts) c.orders.unify(result[axis], part, c.where());
    }
    return {result};
}

Results rule(const Slice& slice, ChannelCarrier& c) {
    AxisOrders result = c.inputs[0];
    ChannelOrder& axis = result[static_cast<size_t>(slice.axis)];
    if (slice.step == 1) {
        axis = c.orders.slice(axis, slice.begin, slice.end, c.where());
    } else {
        c.orders.fix(axis, c.where());
        axis = c.orders.fixed(c.result_shape()[static_cast<int>(slice.axis)], c.where());
    }
    return {result};
}

Results rule(const Pad& pad, ChannelCarrier& c) {
    AxisOrders result = c.inputs[0];
    for (size_t axis = 0; axis < result.size(); ++axis) {
        const int64_t before = pad.before[axis], after = pad.after[axis];
        if (before < 0 || after < 0) {
            c.orders.fix(result[axis], c.where());
            result[axis] = c.orders.fixed(c.result_shape()[static_cast<int>(axis)], c.where());
        } else if (before > 0 || after > 0) {
            result[axis] = c.orders.concatenated(
                {c.orders.fixed(before, c.where()), result[axis], c.orders.fixed(after, c.where())},
                c.where());
        }
    }
    return {result};
}

/// Along an axis that is repeated every order is the same.
Results rule(const Expand&, ChannelCarrier& c) {
    const Shape &from = c.shape(0), &to = c.result_shape();
    AxisOrders result;
    for (int axis = 0; axis < to.rank(); ++axis) {
        const int own = axis - (to.rank() - from.rank());
        const bool repeated = own < 0 || from[own] != to[axis];
        result.push_back(repeated ? c.orders.free(to[axis]) : c.inputs[0][static_cast<size_t>(own)]);
    }
    return {result};
}

Results rule(const Embedding&, ChannelCarrier& c) {
    fix_all(c, c.inputs[0]);
    c.orders.fix(c.inputs[1][0], c.where());
    AxisOrders result = c.inputs[0];
    result.push_back(c.inputs[1][1]);
    return {result};
}

/// Axes of both shapes are matched in the smallest bundles of equal size; each bundle is flattened and parted
/// again.
Results rule(const Reshape&, ChannelCarrier& c) {
    const Shape &from = c.shape(0), &to = c.result_shape();
    AxisOrders result;
    int i = 0, j = 0;
    while (i < from.rank() || j < to.rank()) {
        std::vector<ChannelOrder> axes;
        std::vector<int64_t> extents;
        int64_t here = 1, there = 1;
        do {
            if (i < from.rank() && (here <= there || j == to.rank())) {
                here *= from[i];
                axes.push_back(c.inputs[0][static_cast<size_t>(i++)]);
            } else {
                there *= to[j];
                extents.push_back(to[j++]);
            }
        } while (here != there && (i < from.rank() || j < to.rank()));
        if (extents.empty()) continue;
        const ChannelOrder flat =
            axes.empty() ? c.orders.fixed(1, "a single position") : c.orders.merged(axes, c.where());
        for (ChannelOrder& axis : c.orders.split(flat, extents, c.where())) result.push_back(std::move(axis));
    }
    return {result};
}

/// Operations that no order of channels passes, most of them parts of a training step only. An operation
/// that is neither here nor has a rule of its own does not compile.
using Barriers = std::variant<Accumulate, AdamWUpdate, ApplyMask, AveragePool2dBackward, BatchNormBackward,
                              Conv2dBackwardData, Conv2dBackwardWeights, CrossEntropy, CrossEntropyBackward,
                              EmbeddingBackward, ExponentialAverage, GeluBackward, GlobalAveragePoolBackward,
                              GradientNorm, LayerNormBackward, LinearBackwardData, LinearBackwardWeights,
                              MaxPool2dBackward, PackNm, ReluBackward, SelectMask, SgdUpdate, SliceBackward,
                              SoftmaxBackward, SrDecay, SumExcept, SumTo, UnaryBackward, UnpackNm>;

template <typename Op>
requires is_listed<Op, Barriers> Results rule(const Op&, ChannelCarrier& c) { return barrier(c); }

}  // namespace

std::string ChannelCarrier::where() const {
    return fmt::format("the {} of '{}'", name(node.operation), node.layer);
}

std::vector<AxisOrders> carry_channels(ChannelCarrier carrier) {
    for (const ValueId result : carrier.node.outputs) {
        if (carrier.graph.type(result).shape.elements() == 0) return barrier(carrier);
    }
    return std::visit([&](const auto& op) { return rule(op, carrier); }, carrier.node.operation.attributes);
}

}  // namespace enmesh
