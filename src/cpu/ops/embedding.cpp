#include <algorithm>

#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const Embedding&) {
    const int indices = machine.slot_of(node.inputs[0]), table = machine.slot_of(node.inputs[1]);
    const int dst = machine.out(node.outputs[0]);
    const Shape shape = machine.slot(table).type.shape;
    const int64_t count = machine.slot(indices).type.shape.elements(), rows = shape[0], width = shape[1];
    const std::string layer = node.layer;
    machine.add(node, Kind::other, {indices, table}, {dst},
                [&machine, indices, table, dst, count, rows, width, layer](const RunContext&) {
                    const auto* const index = static_cast<const int32_t*>(machine.data(indices));
                    for (int64_t i = 0; i < count; ++i) {
                        if (index[i] < 0 || index[i] >= rows)
                            refuse("layer '{}': index {} is outside [0, {})", layer, index[i], rows);
                        const float* const from = machine.f32(table) + index[i] * width;
                        std::copy(from, from + width, machine.f32(dst) + i * width);
                    }
                });
}

template <>
void lower(Machine& machine, const Node& node, const EmbeddingBackward&) {
    const int indices = machine.slot_of(node.inputs[0]), diff_dst = machine.in_plain(node.inputs[1]);
    const int diff_table = machine.out(node.outputs[0]);
    const Shape shape = machine.slot(diff_table).type.shape;
    const int64_t count = machine.slot(indices).type.shape.elements(), width = shape[1],
                  elements = shape.elements();
    machine.add(node, Kind::WG, {indices, diff_dst}, {diff_table},
                [&machine, indices, diff_dst, diff_table, count, width, elements](const RunContext&) {
                    const auto* const index = static_cast<const int32_t*>(machine.data(indices));
                    float* const sums = machine.f32(diff_table);
                    std::fill(sums, sums + elements, 0.0F);
                    for (int64_t i = 0; i < count; ++i) {
                        simd().accumulate(machine.f32(diff_dst) + i * width, sums + index[i] * width, width);
                    }
                });
}

}  // namespace enmesh::cpu
