#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "enmesh/base/compare.hpp"
#include "enmesh/cpu/executor.hpp"
#include "step/net.hpp"

namespace enmesh::test {

inline void fill_inputs(Executor& executor) {
    const TrainingStep& step = executor.step();
    initialize(executor, 3);
    executor.write(step.images, random_tensor(step.graph.type(step.images).shape, 2));
    executor.write(step.labels, labels_of(step));
    executor.write(step.learning_rate, scalar(0.05F));
    executor.write(step.gradient_scale, scalar(1.0F));
    executor.write(step.update_count, scalar(1.0F));
}

/// One whole training step of the graph on the CPU executor against the reference: the logits, every gradient
/// and what every parameter and running statistic becomes.
inline void expect_same_step(const Graph& graph, const Recipe& recipe = {},
                             cpu::MapLayout layout = cpu::MapLayout::automatic, double tolerance = 2e-5) {
    cpu::Options options;
    options.layout = layout;
    const auto reference = make_reference_executor(build_training_step(graph, recipe, {}));
    const auto executor = cpu::make_executor(build_training_step(graph, recipe, {}), options);
    for (Executor* const one : {reference.get(), static_cast<Executor*>(executor.get())}) {
        fill_inputs(*one);
        one->gradients({5, 0, 0});
        one->update({5, 0, 0});
    }
    const TrainingStep& step = executor->step();
    const auto expect_close = [&](ValueId value, double bound, const std::string& what) {
        const Tensor got = executor->read(value), want = reference->read(value);
        ASSERT_EQ(got.shape(), want.shape()) << what;
        const Comparison comparison = compare(got.f32(), want.f32(), bound);
        // What a norm behind takes out again has a gradient of zero, of which only rounding remains.
        const bool vanishes = comparison.scale < 1e-5 && comparison.max_abs_diff <= 1e-2 * bound;
        EXPECT_TRUE(comparison.ok() || vanishes) << what << ": " << comparison.describe();
    };
    expect_close(step.logits, tolerance, "logits");
    for (const StepParameter& parameter : step.parameters) {
        const std::string name = step.graph.value(parameter.weights).name;
        expect_close(parameter.gradient, 10 * tolerance, "gradient of " + name);
        expect_close(parameter.weights, 10 * tolerance, name);
    }
    for (size_t i = 0; i < step.graph.values().size(); ++i) {
        const Value& value = step.graph.values()[i];
        const bool statistic = value.role == Role::state && value.name.find(".running_") != std::string::npos;
        if (statistic) expect_close(ValueId{static_cast<int>(i)}, 10 * tolerance, value.name);
    }
}

}  // namespace enmesh::test
