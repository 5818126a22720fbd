#include <algorithm>
#include <cmath>

#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const SgdUpdate& op) {
    const int weights = machine.slot_of(node.inputs[0]), gradient = machine.in_plain(node.inputs[1]);
    const int velocity = machine.slot_of(node.inputs[2]), rate = machine.slot_of(node.inputs[3]);
    const int scale = machine.slot_of(node.inputs[4]);
    const int64_t elements = machine.slot(weights).type.shape.elements();
    machine.add(node, Kind::update, {weights, gradient, velocity, rate, scale}, {weights, velocity},
                [&machine, weights, gradient, velocity, rate, scale, elements, op](const RunContext&) {
                    const SgdCoefficients c{machine.f32(rate)[0], machine.f32(scale)[0],
                                            static_cast<float>(op.momentum),
                                            static_cast<float>(op.weight_decay), op.nesterov};
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        simd().sgd(machine.f32(weights) + at, machine.f32(gradient) + at,
                                   machine.f32(velocity) + at, count, c);
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const AdamWUpdate& op) {
    const int weights = machine.slot_of(node.inputs[0]), gradient = machine.in_plain(node.inputs[1]);
    const int first = machine.slot_of(node.inputs[2]), second = machine.slot_of(node.inputs[3]);
    const int rate = machine.slot_of(node.inputs[4]), scale = machine.slot_of(node.inputs[5]);
    const int update_count = machine.slot_of(node.inputs[6]);
    const int64_t elements = machine.slot(weights).type.shape.elements();
    machine.add(node, Kind::update, {weights, gradient, first, second, rate, scale, update_count},
                {weights, first, second},
                [&machine, weights, gradient, first, second, rate, scale, update_count, elements,
                 op](const RunContext&) {
                    const double t = static_cast<double>(machine.f32(update_count)[0]);
                    const AdamCoefficients c{machine.f32(rate)[0],
                                             machine.f32(scale)[0],
                                             static_cast<float>(op.beta1),
                                             static_cast<float>(op.beta2),
                                             static_cast<float>(op.epsilon),
                                             static_cast<float>(op.weight_decay),
                                             static_cast<float>(1.0 / (1.0 - std::pow(op.beta1, t))),
                                             static_cast<float>(1.0 / (1.0 - std::pow(op.beta2, t)))};
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        simd().adamw(machine.f32(weights) + at, machine.f32(gradient) + at,
                                     machine.f32(first) + at, machine.f32(second) + at, count, c);
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const GradientNorm& op) {
    const int scale = machine.slot_of(node.inputs[0]);
    std::vector<int> gradients;
    for (size_t i = 1; i < node.inputs.size(); ++i) gradients.push_back(machine.in_plain(node.inputs[i]));
    const int factor = machine.out(node.outputs[0]), norm = machine.out(node.outputs[1]);
    std::vector<int> reads = gradients;
    reads.push_back(scale);
    machine.add(
        node, Kind::update, std::move(reads), {factor, norm},
        [&machine, scale, gradients, factor, norm, op](const RunContext&) {
            double total = 0;
            for (const int gradient : gradients) {
                const int64_t elements = machine.slot(gradient).type.shape.elements();
                // Fixed chunks, summed in order: the same bits for any number of threads.
                constexpr int64_t chunk = 65536;
                const int64_t chunks = (elements + chunk - 1) / chunk;
                for (int64_t i = 0; i < chunks; ++i) {
                    const int64_t count = std::min(chunk, elements - i * chunk);
                    total += simd().sum_squares(machine.f32(gradient) + i * chunk, count);
                }
            }
            const double length = std::sqrt(total) * std::fabs(static_cast<double>(machine.f32(scale)[0]));
            machine.f32(norm)[0] = static_cast<float>(length);
            machine.f32(factor)[0] = machine.f32(scale)[0] *
                                     (length > op.max_norm ? static_cast<float>(op.max_norm / length) : 1.0F);
        });
}

template <>
void lower(Machine& machine, const Node& node, const Accumulate&) {
    const int sum = machine.slot_of(node.inputs[0]), gradient = machine.in_plain(node.inputs[1]);
    const int64_t elements = machine.slot(sum).type.shape.elements();
    machine.add(node, Kind::update, {sum, gradient}, {sum},
                [&machine, sum, gradient, elements](const RunContext& context) {
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        float* const s = machine.f32(sum) + at;
                        const float* const g = machine.f32(gradient) + at;
                        if (context.micro_batch == 0) {
                            std::copy(g, g + count, s);
                        } else {
                            simd().accumulate(g, s, count);
                        }
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const ExponentialAverage& op) {
    const int average = machine.slot_of(node.inputs[0]), weights = machine.slot_of(node.inputs[1]),
              update_count = machine.slot_of(node.inputs[2]);
    const int64_t elements = machine.slot(average).type.shape.elements();
    machine.add(node, Kind::update, {average, weights, update_count}, {average},
                [&machine, average, weights, update_count, elements, op](const RunContext&) {
                    const auto decay =
                        static_cast<float>(op.decay_at(static_cast<double>(machine.f32(update_count)[0])));
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        simd().average(machine.f32(average) + at, machine.f32(weights) + at, decay, count);
                    });
                });
}

}  // namespace enmesh::cpu
