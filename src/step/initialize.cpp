#include <span>
#include <vector>

#include "enmesh/sparsity/selection.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {
namespace {

/// By magnitude: zeros rank last, so that the mask of weights that already are N:M holds all non-zeros.
Tensor magnitude_mask_of(const FrozenMask& frozen, const Tensor& weights) {
    Tensor mask(weights.shape(), DType::u8);
    if (weights.dtype() == DType::f32) {
        magnitude_mask(weights.shape(), frozen.axis, frozen.pattern, weights.f32(), mask.as<uint8_t>());
    } else {
        const auto wide = weights.as<double>();
        const std::vector<float> values(wide.begin(), wide.end());
        magnitude_mask(weights.shape(), frozen.axis, frozen.pattern, values, mask.as<uint8_t>());
    }
    return mask;
}

template <typename T>
void zero_unmarked(std::span<T> weights, std::span<const uint8_t> mask) {
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = mask[i] != 0 ? weights[i] : T{0};
}

}  // namespace

void choose_frozen_mask(Executor& executor, const FrozenMask& frozen) {
    Tensor weights = executor.read(frozen.weights);
    const Tensor mask = magnitude_mask_of(frozen, weights);
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
