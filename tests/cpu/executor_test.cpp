#include "enmesh/cpu/executor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/reference/executor.hpp"

namespace enmesh {
namespace {

struct Case {
    std::string model = "digits_cnn", method = "dense";
    Pattern pattern{2, 8};
    ModelOptions options{};
    StepOptions step{};
    cpu::MapLayout layout = cpu::MapLayout::automatic;
    double tolerance = 2e-4;
};

TrainingStep step_of(const Case& c) {
    return build_training_step(build_model(c.model, c.options), make_recipe(c.method, c.pattern), c.step);
}

void write_scalar(Executor& executor, ValueId value, float number) {
    Tensor scalar{Shape{}};
    scalar.f32()[0] = number;
    executor.write(value, scalar);
}

void write_batch(Executor& executor, uint64_t seed) {
    const TrainingStep& step = executor.step();
    Random random(seed, 11);
    Tensor images(step.graph.type(step.images).shape);
    for (float& pixel : images.f32()) pixel = random.normal();
    Tensor labels(step.graph.type(step.labels).shape, DType::i32);
    const auto classes = static_cast<uint64_t>(step.graph.type(step.logits).shape[1]);
    for (int32_t& label : labels.as<int32_t>()) label = static_cast<int32_t>(random.below(classes));
    executor.write(step.images, images);
    executor.write(step.labels, labels);
    write_scalar(executor, step.learning_rate, 0.05F);
    write_scalar(executor, step.gradient_scale, 1.0F / static_cast<float>(step.options.accumulate));
    write_scalar(executor, step.update_count, 1.0F);
}

void run_update(Executor& executor, int64_t update) {
    for (int64_t micro = 0; micro < executor.step().options.accumulate; ++micro) {
        write_batch(executor, static_cast<uint64_t>(100 * update + micro));
        executor.gradients({5, update, micro});
    }
    executor.update({5, update, 0});
}

void expect_close(const Executor& got, const Executor& want, ValueId value, double tolerance,
                  const std::string& what) {
    const Tensor a = got.read(value), b = want.read(value);
    ASSERT_EQ(a.shape(), b.shape()) << what;
    if (a.dtype() == DType::u8) {
        EXPECT_TRUE(std::ranges::equal(a.as<uint8_t>(), b.as<uint8_t>())) << what;
        return;
    }
    if (a.dtype() != DType::f32) return;
    const Comparison comparison = compare(a.f32(), b.f32(), tolerance);
    EXPECT_TRUE(comparison.ok()) << what << ": " << comparison.describe();
}

/// One update on both executors from the same weights: loss, logits, every gradient, every parameter and
/// state after.
void compare_with_reference(const Case& c) {
    SCOPED_TRACE(c.model + " " + c.method + " " + to_string(c.pattern));
    cpu::Options options;
    options.layout = c.layout;
    const auto reference = make_reference_executor(step_of(c));
    const auto executor = cpu::make_executor(step_of(c), options);
    initialize(*reference, 3);
    initialize(*executor, 3);
    run_update(*reference, 0);
    run_update(*executor, 0);
    const TrainingStep& step = executor->step();
    const bool adam = std::holds_alternative<AdamW>(c.step.optimizer);
    expect_close(*executor, *reference, step.loss, 1e-5, "loss");
    expect_close(*executor, *reference, step.logits, c.tolerance, "logits");
    for (const StepParameter& parameter : step.parameters) {
        const std::string name = step.graph.value(parameter.weights).name;
        expect_close(*executor, *reference, parameter.gradient, 10 * c.tolerance, "gradient of " + name);
        // Adam's first step is the gradient's sign: rounding decides it where the true gradient is zero.
        if (adam) continue;
        expect_close(*executor, *reference, parameter.weights, c.tolerance, name);
    }
    for (size_t i = 0; i < step.graph.values().size(); ++i) {
        const Value& value = step.graph.values()[i];
        // Packed operands may flip between nearly equal magnitudes; velocities and moments are gradients
        // again.
        if (value.role != Role::state || !value.type.dense() || value.name.ends_with(".ff_dense")) continue;
        expect_close(*executor, *reference, ValueId{static_cast<int>(i)}, 10 * c.tolerance, value.name);
    }
}

ModelOptions digits(int64_t batch = 16) {
    return {.classes = 10, .image = {1, 8, 8}, .width = 1, .batch = batch};
}
ModelOptions small(double width, int64_t batch, int64_t extent = 32) {
    return {.classes = 10, .image = {3, extent, extent}, .width = width, .batch = batch};
}

TEST(CpuExecutor, EveryMethodMatchesTheReference) {
    for (const std::string& method : method_names()) {
        Case c{.options = digits()};
        c.method = method;
        compare_with_reference(c);
    }
    Case additions{.options = digits()};
    additions.method = "bdwp+mvue+sr";
    compare_with_reference(additions);
}

TEST(CpuExecutor, PatternsMatchTheReference) {
    for (const Pattern pattern :
         {Pattern{1, 4}, Pattern{2, 4}, Pattern{4, 8}, Pattern{1, 16}, Pattern{7, 16}}) {
        Case c{.method = "bdwp", .options = digits()};
        c.pattern = pattern;
        compare_with_reference(c);
    }
}

TEST(CpuExecutor, WholeResNet9Step) {
    compare_with_reference({.model = "resnet9", .options = small(0.25, 4)});
    compare_with_reference({.model = "resnet9", .method = "bdwp", .options = small(0.25, 4)});
}

TEST(CpuExecutor, ResidualNetworksWithDownsampling) {
    compare_with_reference({.model = "resnet18", .options = small(0.125, 8, 16)});
    compare_with_reference(
        {.model = "resnet18", .method = "bdwp", .pattern = {1, 4}, .options = small(0.125, 8, 16)});
    compare_with_reference({.model = "resnet50",
                            .method = "sr-ste",
                            .pattern = {2, 4},
                            .options = small(0.125, 8, 16),
                            .tolerance = 5e-3});
}

TEST(CpuExecutor, TransformerStep) {
    Case c{.model = "vit_tiny", .options = small(0.25, 3, 16), .tolerance = 1e-3};
    c.step.optimizer = AdamW{};
    compare_with_reference(c);
    c.method = "bdwp";
    compare_with_reference(c);
}

TEST(CpuExecutor, PlainNetworksWithOddChannels) {
    const ModelOptions options{.classes = 10, .image = {1, 28, 28}, .width = 1, .batch = 5};
    compare_with_reference({.model = "lenet5", .options = options});
    compare_with_reference({.model = "mlp", .method = "bdwp", .options = options});
}

TEST(CpuExecutor, ChannelLayoutMatchesTheReference) {
    // Channel counts are multiples of 16, the block of AVX-512.
    compare_with_reference({.options = digits(), .layout = cpu::MapLayout::channels});
    // Eight images: a rounding that turns a ReLU must not weigh more than the tolerance of a deep network's
    // norms.
    compare_with_reference({.model = "resnet18",
                            .options = small(0.25, 8, 16),
                            .layout = cpu::MapLayout::channels,
                            .tolerance = 1e-3});
}

TEST(CpuExecutor, BatchesOfEverySize) {
    for (const int64_t batch : {1, 2, 3, 6, 8, 24}) {
        compare_with_reference({.method = "bdwp", .options = digits(batch), .tolerance = 5e-4});
    }
}

TEST(CpuExecutor, AccumulationClippingAndAverages) {
    Case c{.method = "bdwp", .options = digits()};
    c.step.optimizer = Sgd{.momentum = 0.9, .nesterov = true};
    c.step.label_smoothing = 0.1;
    c.step.accumulate = 3;
    c.step.clip_norm = 0.5;
    c.step.average_decay = 0.9;
    compare_with_reference(c);
}

TEST(CpuExecutor, SameBitsOnEveryRunHoweverBuffersAreShared) {
    std::vector<std::vector<float>> weights;
    for (const bool keep : {false, true, false}) {
        cpu::Options options;
        options.keep_everything = keep;
        const auto executor =
            cpu::make_executor(step_of({.method = "bdwp+mvue", .options = digits()}), options);
        initialize(*executor, 9);
        for (int64_t update = 0; update < 3; ++update) run_update(*executor, update);
        std::vector<float> all;
        for (const StepParameter& parameter : executor->step().parameters) {
            const Tensor tensor = executor->read(parameter.weights);
            all.insert(all.end(), tensor.f32().begin(), tensor.f32().end());
        }
        weights.push_back(std::move(all));
    }
    EXPECT_EQ(weights[0], weights[1]);
    EXPECT_EQ(weights[0], weights[2]);
}

TEST(CpuExecutor, ImageLayoutConvertsNothingBetweenLayers) {
    const auto executor =
        cpu::make_executor(step_of({.model = "resnet18", .method = "bdwp", .options = small(0.25, 8)}));
    // The images themselves are the only map that arrives in another layout.
    EXPECT_LE(executor->memory().conversions, 1);
}

TEST(CpuExecutor, FindsTheFirstNonFiniteLayer) {
    const auto executor = cpu::make_executor(step_of({.options = digits()}));
    initialize(*executor, 1);
    write_batch(*executor, 1);
    executor->gradients({});
    EXPECT_EQ(executor->first_non_finite({}), "");
    const TrainingStep& step = executor->step();
    const ValueId broken = step.parameters[2].weights;
    Tensor weights = executor->read(broken);
    weights.f32()[0] = std::numeric_limits<float>::quiet_NaN();
    executor->write(broken, weights);
    executor->refresh();
    EXPECT_EQ(executor->first_non_finite({}), "parameter '" + step.graph.value(broken).name + "'");
    Tensor images = executor->read(step.images);
    weights.f32()[0] = 1.0F;
    executor->write(broken, weights);
    images.f32()[5] = std::numeric_limits<float>::infinity();
    executor->write(step.images, images);
    EXPECT_EQ(executor->first_non_finite({}), "the input images");
}

TEST(CpuExecutor, RefusesTensorsOfAnotherShape) {
    const auto executor = cpu::make_executor(step_of({.options = digits()}));
    EXPECT_THROW(executor->write(executor->step().images, Tensor(Shape{1, 2, 3, 4})), Error);
    EXPECT_THROW(executor->write(executor->step().logits, Tensor(Shape{16, 10})), Error);
}

TEST(CpuExecutor, LookingForANonFiniteValueMovesNoState) {
    Case c{.model = "resnet18", .options = small(0.125, 4)};
    c.step.accumulate = 2;
    const auto executor = cpu::make_executor(step_of(c));
    initialize(*executor, 1);
    write_batch(*executor, 1);
    executor->gradients({});
    const auto states = [&] {
        std::vector<std::vector<float>> values;
        const std::span<const Value> all = executor->step().graph.values();
        for (size_t i = 0; i < all.size(); ++i) {
            if (all[i].role != Role::state || all[i].type.dtype != DType::f32 || !all[i].type.dense())
                continue;
            const Tensor value = executor->read(ValueId{static_cast<int>(i)});
            values.emplace_back(value.f32().begin(), value.f32().end());
        }
        return values;
    };
    const auto before = states();
    ASSERT_FALSE(before.empty());
    EXPECT_EQ(executor->first_non_finite({}), "");
    EXPECT_TRUE(states() == before);
}

TEST(CpuExecutor, TwoInTwoThreadsDoNotDisturbEachOther) {
    const auto weights_after = [](uint64_t seed) {
        cpu::Options options;
        options.layout = cpu::MapLayout::channels;  // oneDNN's convolutions
        const auto executor =
            cpu::make_executor(step_of({.model = "resnet9", .options = small(0.25, 8)}), options);
        initialize(*executor, seed);
        for (int64_t update = 0; update < 3; ++update) run_update(*executor, update);
        std::vector<float> all;
        for (const StepParameter& parameter : executor->step().parameters) {
            const Tensor tensor = executor->read(parameter.weights);
            all.insert(all.end(), tensor.f32().begin(), tensor.f32().end());
        }
        return all;
    };
    const std::vector<std::vector<float>> expected{weights_after(1), weights_after(2)};
    std::vector<std::vector<float>> got(2);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 2; ++i) threads.emplace_back([&, i] { got[i] = weights_after(i + 1); });
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(got[i] == expected[i]) << i;
}

}  // namespace
}  // namespace enmesh
