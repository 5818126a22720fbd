#include "cpu/ops/runs.hpp"
#include "enmesh/step/randomness.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const Dropout& op) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.out(node.outputs[0]);
    const int64_t elements = machine.slot(src).type.shape.elements();
    machine.add(node, Kind::other, {src}, {dst},
                [&machine, src, dst, elements, op](const RunContext& context) {
                    const Random random = step_random(context, RandomUse::dropout, op.stream);
                    const float factor = static_cast<float>(1.0 / (1.0 - op.probability));
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        for (int64_t i = at; i < at + count; ++i) {
                            const bool kept = dropout_keeps(random, static_cast<uint64_t>(i), op.probability);
                            machine.f32(dst)[i] = kept ? machine.f32(src)[i] * factor : 0.0F;
                        }
                    });
                });
}

}  // namespace enmesh::cpu
