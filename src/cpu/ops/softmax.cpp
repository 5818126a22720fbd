#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const Softmax&) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.out(node.outputs[0]);
    const Shape shape = machine.slot(src).type.shape;
    const int64_t rows = row_count(shape), length = shape[-1];
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, rows, length](const RunContext&) {
        parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                simd().softmax(machine.f32(src) + row * length, machine.f32(dst) + row * length, length);
            }
        });
    });
}

template <>
void lower(Machine& machine, const Node& node, const SoftmaxBackward&) {
    const int dst = machine.in_plain(node.inputs[0]), diff_dst = machine.in_plain(node.inputs[1]);
    const int diff_src = machine.out(node.outputs[0]);
    const Shape shape = machine.slot(dst).type.shape;
    const int64_t rows = row_count(shape), length = shape[-1];
    machine.add(node, Kind::other, {dst, diff_dst}, {diff_src},
                [&machine, dst, diff_dst, diff_src, rows, length](const RunContext&) {
                    parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
                        for (int64_t row = begin; row < end; ++row) {
                            const int64_t at = row * length;
                            simd().softmax_backward(machine.f32(dst) + at, machine.f32(diff_dst) + at,
                                                    machine.f32(diff_src) + at, length);
                        }
                    });
                });
}

}  // namespace enmesh::cpu
