#include <span>
#include <vector>

#include "enmesh/sparsity/held_masks.hpp"
#include "enmesh/sparsity/selection.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {
namespace {

/// The weights' own mask where they hold the pattern: what was pruned stays so, also in groups that have
/// fewer than N left. Otherwise by magnitude.
Tensor mask_of(const FrozenMask& frozen, const Shape& shape, std::span<const float> weights) {
    Tensor mask(shape, DType::u8);
    const std::span<uint8_t> kept = mask.as<uint8_t>();
    if (!holds_pattern(shape, frozen.axis, frozen.pattern, weights)) {
        magnitude_mask(shape, frozen.axis, frozen.pattern, weights, kept);
        return mask;
    }
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = weights[i] != 0.0F ? 1 : 0;
    return mask;
}

Tensor mask_of(const FrozenMask& frozen, const Tensor& weights) {
    if (weights.dtype() == DType::f32) return mask_of(frozen, weights.shape(), weights.f32());
    const auto wide = weights.as<double>();
    const std::vector<float> values(wide.begin(), wide.end());
    return mask_of(frozen, weights.shape(), values);
}

template <typename T>
void zero_unmarked(std::span<T> weights, std::span<const uint8_t> mask) {
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = mask[i] != 0 ? weights[i] : T{0};
}

}  // namespace

void choose_frozen_mask(Executor& executor, const FrozenMask& frozen) {
    Tensor weights = executor.read(frozen.weights);
    const Tensor mask = mask_of(frozen, weights);
    if (weights.dtype() == DType::f32) {
        zero_unmarked(weights.f32(), mask.as<uint8_t>());
    } else {
        zero_unmarked(weights.as<double>(), mask.as<uint8_t>());
    }
    executor.write(frozen.mask, mask);
    executor.write(frozen.weights, weights);
}

void initialize(Executor& executor, uint64_t seed) {
    const Graph& graph = executor.step().graph;
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        const bool stored =
            value.role == Role::parameter || (value.role == Role::state && value.type.dense());
        if (stored) executor.write(ValueId{static_cast<int>(i)}, initial_value(value, seed));
    }
    for (const FrozenMask& frozen : executor.step().frozen_masks) choose_frozen_mask(executor, frozen);
    for (const StepParameter& parameter : executor.step().parameters) {
        if (parameter.average.valid()) executor.write(parameter.average, executor.read(parameter.weights));
    }
    executor.refresh();
}

}  // namespace enmesh
