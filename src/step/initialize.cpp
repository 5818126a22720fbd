#include "enmesh/step/executor.hpp"

namespace enmesh {

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
    executor.refresh();
}

}  // namespace enmesh
