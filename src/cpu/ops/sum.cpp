#include <algorithm>

#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {
namespace {

/// Per channel of a map, whatever its layout.
void add_channel_sums(Machine& machine, const Node& node) {
    const int src = machine.slot_of(node.inputs[0]);
    const int dst = machine.out(node.outputs[0]);
    const MapRuns map = map_runs(machine.slot(src).type.shape, machine.slot(src).layout);
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, map](const RunContext&) {
        const float zeros[lanes] = {};
        parallel_for(map.groups, 1, [&](int64_t begin, int64_t end) {
            for (int64_t g = begin; g < end; ++g) {
                double sum[lanes] = {}, squares[lanes] = {};
                for (int64_t r = 0; r < map.runs; ++r) {
                    const float* const run = machine.f32(src) + g * map.group_stride + r * map.run_stride;
                    simd().norm_sums(run, map.run, zeros, sum, squares);
                }
                for (int offset = 0; offset < map.channels_per_group; ++offset) {
                    double total = 0;
                    for (int lane = offset; lane < lanes; lane += map.channels_per_group) total += sum[lane];
                    machine.f32(dst)[g * map.channels_per_group + offset] = static_cast<float>(total);
                }
            }
        });
    });
}

/// Per feature of rows: partial sums of a fixed number of row shares, added in order, so that threads change
/// nothing.
void add_feature_sums(Machine& machine, const Node& node) {
    const int src = machine.in_plain(node.inputs[0]);
    const int dst = machine.out(node.outputs[0]);
    const Shape shape = machine.slot(src).type.shape;
    const int64_t features = shape[-1], rows = row_count(shape);
    constexpr int parts = 16;
    const size_t partial = machine.book(static_cast<size_t>(parts * features) * sizeof(float));
    machine.add(node, Kind::other, {src}, {dst},
                [&machine, src, dst, features, rows, partial](const RunContext&) {
                    float* const sums = reinterpret_cast<float*>(machine.workspace(partial));
                    parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
                        for (int64_t part = begin; part < end; ++part) {
                            float* const mine = sums + part * features;
                            std::fill(mine, mine + features, 0.0F);
                            const auto [first, last] = share(rows, static_cast<int>(part), parts);
                            for (int64_t row = first; row < last; ++row) {
                                simd().accumulate(machine.f32(src) + row * features, mine, features);
                            }
                        }
                    });
                    float* const out = machine.f32(dst);
                    std::fill(out, out + features, 0.0F);
                    for (int part = 0; part < parts; ++part)
                        simd().accumulate(sums + part * features, out, features);
                });
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const SumExcept& op) {
    const int rank = machine.graph().type(node.inputs[0]).shape.rank();
    const int64_t axis = op.axis < 0 ? op.axis + rank : op.axis;
    if (axis == rank - 1) {
        add_feature_sums(machine, node);
    } else if (axis == 1) {
        add_channel_sums(machine, node);
    } else {
        refuse("layer '{}': sum_except over axis {} of rank {} is not supported on the CPU", node.layer, axis,
               rank);
    }
}

}  // namespace enmesh::cpu
