#include <algorithm>
#include <cstring>

#include "cpu/ops/broadcast.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {
namespace {

/// Extents before, at and after an axis.
struct Around {
    int64_t outer = 1, extent = 1, inner = 1;

    Around(const Shape& shape, int64_t axis) : extent(shape[static_cast<int>(axis)]) {
        for (int i = 0; i < shape.rank(); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : shape[i];
    }
};

}  // namespace

void lower(Machine& machine, const Node& node, const Reshape&) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.out(node.outputs[0]);
    machine.slot(dst).alias = src;
}

void lower(Machine& machine, const Node& node, const Transpose& op) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.out(node.outputs[0]);
    const Shape from = machine.slot(src).type.shape, to = machine.slot(dst).type.shape;
    const int rank = to.rank();
    if (rank > BroadcastRows::max_rank)
        refuse("layer '{}': transposes above rank 8 are not supported", node.layer);
    std::array<int64_t, BroadcastRows::max_rank> source_stride{}, stride{};
    int64_t step = 1;
    for (int axis = rank - 1; axis >= 0; --axis) {
        source_stride[static_cast<size_t>(axis)] = step;
        step *= from[axis];
    }
    for (int axis = 0; axis < rank; ++axis) {
        stride[static_cast<size_t>(axis)] =
            source_stride[static_cast<size_t>(op.order[static_cast<size_t>(axis)])];
    }
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, to, stride, rank](const RunContext&) {
        const int64_t length = to[-1], rows = to.elements() / length,
                      last = stride[static_cast<size_t>(rank - 1)];
        parallel_for(rows, 256, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                int64_t at = 0, rest = row;
                for (int axis = rank - 2; axis >= 0; --axis) {
                    at += rest % to[axis] * stride[static_cast<size_t>(axis)];
                    rest /= to[axis];
                }
                const float* const x = machine.f32(src) + at;
                float* const y = machine.f32(dst) + row * length;
                if (last == 1) {
                    std::memcpy(y, x, static_cast<size_t>(length) * sizeof(float));
                } else {
                    for (int64_t i = 0; i < length; ++i) y[i] = x[i * last];
                }
            }
        });
    });
}

void lower(Machine& machine, const Node& node, const Slice& op) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.out(node.outputs[0]);
    const Around from(machine.slot(src).type.shape, op.axis), to(machine.slot(dst).type.shape, op.axis);
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, from, to, op](const RunContext&) {
        parallel_for(to.outer * to.extent, 64, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t outer = i / to.extent, at = op.begin + i % to.extent * op.step;
                const float* const x = machine.f32(src) + (outer * from.extent + at) * from.inner;
                std::copy(x, x + from.inner, machine.f32(dst) + i * to.inner);
            }
        });
    });
}

void lower(Machine& machine, const Node& node, const SliceBackward& op) {
    const int diff_dst = machine.in_plain(node.inputs[0]), diff_src = machine.out(node.outputs[0]);
    const Around whole(op.src, op.slice.axis), part(machine.slot(diff_dst).type.shape, op.slice.axis);
    const Slice slice = op.slice;
    machine.add(
        node, Kind::other, {diff_dst}, {diff_src},
        [&machine, diff_dst, diff_src, whole, part, slice](const RunContext&) {
            parallel_for(whole.outer, 1, [&](int64_t begin, int64_t end) {
                for (int64_t outer = begin; outer < end; ++outer) {
                    float* const to = machine.f32(diff_src) + outer * whole.extent * whole.inner;
                    std::fill(to, to + whole.extent * whole.inner, 0.0F);
                    for (int64_t i = 0; i < part.extent; ++i) {
                        const float* const x = machine.f32(diff_dst) + (outer * part.extent + i) * part.inner;
                        std::copy(x, x + part.inner, to + (slice.begin + i * slice.step) * whole.inner);
                    }
                }
            });
        });
}

void lower(Machine& machine, const Node& node, const Concat& op) {
    std::vector<int> sources;
    for (const ValueId input : node.inputs) sources.push_back(machine.in_plain(input));
    const int dst = machine.out(node.outputs[0]);
    const Around whole(machine.slot(dst).type.shape, op.axis);
    int64_t begin = 0;
    std::vector<int64_t> begins, extents;
    for (const int source : sources) {
        begins.push_back(begin);
        extents.push_back(machine.slot(source).type.shape[static_cast<int>(op.axis)]);
        begin += extents.back();
    }
    machine.add(node, Kind::other, sources, {dst},
                [&machine, sources, begins, extents, dst, whole](const RunContext&) {
                    for (size_t s = 0; s < sources.size(); ++s) {
                        const int64_t length = extents[s] * whole.inner;
                        const float* const x = machine.f32(sources[s]);
                        for (int64_t outer = 0; outer < whole.outer; ++outer) {
                            float* const y =
                                machine.f32(dst) + (outer * whole.extent + begins[s]) * whole.inner;
                            std::copy(x + outer * length, x + (outer + 1) * length, y);
                        }
                    }
                });
}

}  // namespace enmesh::cpu
