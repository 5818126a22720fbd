#include <span>
#include <vector>

#include "enmesh/sparsity/selection.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {
/// By magnitude. Weights that already are N:M keep their non-zeros: zeros rank last, so that a group's mask
/// holds all of them, filled up to N with zeros of lowest index.
void choose_frozen_mask(Executor& executor, const FrozenMask& frozen) {
    const Tensor weights = executor.read(frozen.weights);
    Tensor mask(weights.shape(), DType::u8);
    std::vector<float> values;
    if (weights.dtype() == DType::f64) {
        const auto wide = weights.as<double>();
        values.assign(wide.begin(), wide.end());
    }
    magnitude_mask(weights.shape(), frozen.axis, frozen.pattern,
                   values.empty() ? weights.f32() : std::span<const float>(values), mask.as<uint8_t>());
    executor.write(frozen.mask, mask);
}

void initialize(Executor& executor, uint64_t seed) {
    const Graph& graph = executor.step().graph;
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        const bool stored =
            value.role == Role::parameter || (value.role == Role::state && value.type.dense());
        if (stored) executor.write(ValueId{static_cast<int>(i)}, initial_value(value, seed));
    }
    for (const StepParameter& parameter : executor.step().parameters) {
        if (parameter.average.valid()) executor.write(parameter.average, executor.read(parameter.weights));
    }
    for (const FrozenMask& frozen : executor.step().frozen_masks) choose_frozen_mask(executor, frozen);
    executor.refresh();
}

}  // namespace enmesh
