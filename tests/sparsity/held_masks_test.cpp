#include "enmesh/sparsity/held_masks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "enmesh/base/random.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/reference/executor.hpp"
#include "enmesh/sparsity/prune_network.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {
namespace {

Graph network() { return build_model("digits_cnn", {.classes = 10, .image = {1, 8, 8}, .batch = 2}); }

Tensor random_value(const Value& value) {
    Tensor tensor = initial_value(value, 4);
    if (value.role != Role::parameter) return tensor;
    Random random(Random::mix(value.name.size()));
    for (float& element : tensor.f32()) element += 0.1F * random.normal();
    return tensor;
}

/// The network with the pruned weights as its first.
Graph pruned(const Graph& graph, const PruneOptions& options, const std::vector<RecipeOverride>& overrides,
             const WeightSource& source = random_value) {
    const NetworkPlan plan = plan_network(graph, source, options, overrides);
    const WeightSource after = pruned_weights(plan, source);
    Graph result;
    std::vector<ValueId> mapped(graph.values().size());
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        Initializer first = value.initializer;
        if (value.role == Role::parameter)
            first = {Initializer::Kind::given, 0, std::make_shared<Tensor>(after(value))};
        if (value.role == Role::input) mapped[i] = result.add_input(value.name, value.type);
        if (value.role == Role::parameter)
            mapped[i] = result.add_parameter(value.name, value.type.shape, first, value.decayed);
        if (value.role == Role::state) mapped[i] = result.add_state(value.name, value.type, first);
        if (value.role == Role::constant) mapped[i] = result.add_constant(value.name, first.given);
    }
    const auto map = [&](ValueId id) { return mapped[static_cast<size_t>(id.index)]; };
    for (const Node& node : graph.nodes()) {
        std::vector<ValueId> inputs;
        for (const ValueId input : node.inputs) inputs.push_back(map(input));
        const auto outputs = result.add(node.operation, std::move(inputs), node.layer, node.stage);
        for (size_t i = 0; i < outputs.size(); ++i)
            mapped[static_cast<size_t>(node.outputs[i].index)] = outputs[i];
    }
    for (const ValueId output : graph.outputs) result.outputs.push_back(map(output));
    return result;
}

Tensor first_value(const Value& value) { return initial_value(value, 0); }

const LayerDecision& decision_of(const TrainingStep& step, const std::string& layer, Stage stage) {
    return *std::find_if(step.decisions.begin(), step.decisions.end(), [&](const LayerDecision& decision) {
        return decision.layer == layer && decision.stage == stage;
    });
}

TEST(HeldMasks, AreToldByZeros) {
    const Shape shape{2, 8};
    std::vector<float> weights(16, 1.0F);
    const auto holds = [&](Pattern pattern) {
        return holds_pattern(shape, GroupAxis::input_channels, pattern, weights);
    };
    EXPECT_FALSE(holds({3, 4}));
    for (size_t i = 0; i < 16; i += 4) weights[i] = -0.0F;
    EXPECT_TRUE(holds({3, 4}));
    EXPECT_TRUE(holds({6, 8}));
    EXPECT_FALSE(holds({2, 4}));
    weights[0] = std::nanf("");
    EXPECT_FALSE(holds({3, 4}));
    std::fill(weights.begin(), weights.end(), 0.0F);
    EXPECT_FALSE(holds({3, 4}));  // waits to be trained
    weights[5] = 1;
    EXPECT_TRUE(holds({1, 4}));
    EXPECT_TRUE(holds_pattern(shape, GroupAxis::output_channels, {1, 2}, weights));
}

TEST(HeldMasks, TheSparsestPatternIsFoundThatSparesMost) {
    for (const Pattern pattern : {Pattern{1, 2}, Pattern{2, 4}, Pattern{1, 8}, Pattern{4, 16}}) {
        const Graph graph = pruned(network(), {.pattern = pattern}, {{"conv3", false}});
        EXPECT_EQ(held_pattern(graph, first_value), pattern) << to_string(pattern);
    }
    EXPECT_EQ(held_pattern(network(), random_value), std::nullopt);
}

/// Weights of one layer with zeros where `zero` says so of an element's input channel and index.
WeightSource zeroed(const std::string& name, const std::function<bool(int64_t channel, size_t index)>& zero) {
    return [=](const Value& value) {
        Tensor weights = random_value(value);
        if (value.name != name) return weights;
        const Shape& shape = value.type.shape;
        const auto area = static_cast<size_t>(shape.elements() / shape[0] / shape[1]);
        for (size_t i = 0; i < weights.f32().size(); ++i) {
            if (zero(static_cast<int64_t>(i / area) % shape[1], i)) weights.f32()[i] = 0;
        }
        return weights;
    };
}

TEST(HeldMasks, NotEveryZeroIsOne) {
    const Graph graph = network();
    const Recipe recipe = make_recipe("asp", Pattern{2, 4});
    const auto expect_none = [&](const WeightSource& source) {
        EXPECT_EQ(held_pattern(graph, source), std::nullopt);
        EXPECT_TRUE(keep_held_masks(graph, recipe, source).kept.empty());
    };
    // A channel that died, which is at most 15:16.
    expect_none(zeroed("conv3.weight", [](int64_t channel, size_t) { return channel == 0; }));
    // A tenth of the weights at random: no group of 16 holds more than a few, and few hold as many.
    Random random(5);
    std::vector<bool> strewn(1 << 20);
    for (size_t i = 0; i < strewn.size(); ++i) strewn[i] = random.below(10) != 0;
    expect_none(zeroed("conv3.weight", [&](int64_t, size_t index) { return strewn[index]; }));
    // Of four, three: too dense to be told from such things unless it is asked for.
    const WeightSource three =
        zeroed("conv3.weight", [](int64_t channel, size_t) { return channel % 4 == 1; });
    expect_none(three);
    EXPECT_EQ(keep_held_masks(graph, make_recipe("asp", Pattern{3, 4}), three).kept,
              (std::vector<KeptLayer>{{"conv3", {3, 4}}}));
}

TEST(HeldMasks, DecideWhichLayersAreSparse) {
    const std::vector<RecipeOverride> chosen{{"fc", true}, {"conv3", false}};
    const Graph graph = pruned(network(), {.pattern = {1, 4}}, chosen);
    Recipe recipe = make_recipe("asp", Pattern{2, 4});
    const HeldMasks held = keep_held_masks(graph, recipe, first_value);
    EXPECT_EQ(held.layers, 5);
    EXPECT_EQ(held.kept, (std::vector<KeptLayer>{{"conv2", {2, 4}}, {"conv4", {2, 4}}, {"fc", {2, 4}}}));
    ASSERT_EQ(held.differences.size(), 2U);
    EXPECT_EQ(held.differences[0].layer, "conv3");
    EXPECT_FALSE(held.differences[0].sparse);
    EXPECT_EQ(held.differences[1].layer, "fc");
    EXPECT_EQ(held.differences[1].reason, "classifier");
    EXPECT_TRUE(weights_to_prune(graph, held.recipe, first_value).empty());
    EXPECT_EQ(weights_to_prune(graph, recipe, first_value), (std::vector<std::string>{"conv3.weight"}));
    // An override of the recipe counts more; nothing held, nothing changed.
    recipe.overrides = {{"conv*", true}, {"fc", false}};
    const HeldMasks asked = keep_held_masks(graph, recipe, first_value);
    EXPECT_EQ(asked.kept, (std::vector<KeptLayer>{{"conv2", {2, 4}}, {"conv4", {2, 4}}}));
    EXPECT_TRUE(asked.differences.empty());
    EXPECT_EQ(keep_held_masks(network(), recipe, random_value).recipe, recipe);
    EXPECT_EQ(keep_held_masks(graph, make_recipe("bdwp", Pattern{2, 4}), first_value).recipe,
              make_recipe("bdwp", Pattern{2, 4}));

    const auto executor = make_reference_executor(build_training_step(graph, held.recipe, {}));
    initialize(*executor, 0);
    for (const FrozenMask& frozen : executor->step().frozen_masks) {
        const Value& value = executor->step().graph.value(frozen.weights);
        const Tensor before = first_value(graph.value(graph.find(value.name))),
                     mask = executor->read(frozen.mask);
        const auto kept = mask.as<uint8_t>();
        for (size_t i = 0; i < kept.size(); ++i)
            ASSERT_EQ(kept[i] != 0, before.f32()[i] != 0.0F) << value.name << " " << i;
    }
}

TEST(HeldMasks, EveryLayerKeepsThePatternThatItHolds) {
    const Graph once = pruned(network(), {.pattern = {2, 8}}, {{"conv3", false}});
    const Graph graph = pruned(once, {.pattern = {2, 4}}, {{"*", false}, {"conv3", true}}, first_value);
    const Recipe recipe = make_recipe("asp", Pattern{2, 8});
    const HeldMasks held = keep_held_masks(graph, recipe, first_value);
    EXPECT_EQ(held.kept, (std::vector<KeptLayer>{{"conv2", {2, 8}}, {"conv3", {2, 4}}, {"conv4", {2, 8}}}));
    EXPECT_TRUE(held.differences.empty());
    EXPECT_TRUE(weights_to_prune(graph, held.recipe, first_value).empty());
    EXPECT_EQ(patterns_text(held.recipe, decide_layers(graph, held.recipe)), "2:8+2:4");
    const TrainingStep step = build_training_step(graph, held.recipe, {});
    EXPECT_EQ(decision_of(step, "conv3", Stage::FF).pattern, (Pattern{2, 4}));
    EXPECT_EQ(decision_of(step, "conv4", Stage::FF).pattern, (Pattern{2, 8}));
    const auto executor = make_reference_executor(step);
    initialize(*executor, 0);
    for (const FrozenMask& frozen : step.frozen_masks) {
        const std::string& name = step.graph.value(frozen.weights).name;
        EXPECT_EQ(frozen.pattern, name == "conv3.weight" ? (Pattern{2, 4}) : (Pattern{2, 8})) << name;
        const Tensor before = first_value(graph.value(graph.find(name))), mask = executor->read(frozen.mask);
        for (size_t i = 0; i < before.f32().size(); ++i)
            ASSERT_EQ(mask.as<uint8_t>()[i] != 0, before.f32()[i] != 0.0F) << name << " " << i;
    }
    // What holds 2:8 holds 2:4 too; where nobody asked for 2:4, the sparser one serves.
    const Recipe wider = make_recipe("asp", Pattern{2, 4});
    EXPECT_EQ(keep_held_masks(graph, wider, first_value).kept[0], (KeptLayer{"conv2", {2, 4}}));
    EXPECT_EQ(keep_held_masks(graph, wider, first_value, HeldPattern::sparsest).kept, held.kept);
    // A pattern that the command line gives to a layer counts more.
    Recipe asked = recipe;
    asked.overrides = {{"conv3", true, {1, 4}}};
    const HeldMasks given = keep_held_masks(graph, asked, first_value);
    EXPECT_EQ(given.kept, (std::vector<KeptLayer>{{"conv2", {2, 8}}, {"conv4", {2, 8}}}));
    EXPECT_EQ(weights_to_prune(graph, given.recipe, first_value), (std::vector<std::string>{"conv3.weight"}));
}

TEST(HeldMasks, ServeBpWhereTheyAreNmBothWays) {
    const Recipe recipe = make_recipe("asp", Pattern{2, 4});
    const Graph plain = pruned(network(), {.pattern = {2, 4}}, {});
    EXPECT_EQ(keep_held_masks(plain, recipe, first_value).recipe.bp_weight, WeightRule::ff_mask);
    PruneOptions options{.pattern = {2, 4}};
    options.transposable = true;
    const Graph both = pruned(network(), options, {});
    const HeldMasks held = keep_held_masks(both, recipe, first_value);
    EXPECT_EQ(held.recipe.bp_weight, WeightRule::frozen);
    const TrainingStep step = build_training_step(both, held.recipe, {});
    EXPECT_TRUE(decision_of(step, "conv2", Stage::BP).sparse);
    EXPECT_EQ(decision_of(step, "fc", Stage::BP).reason, "10 output channels are not a multiple of M = 4");
    const StageCount bp = count_products(step, Stage::BP);
    EXPECT_LT(bp.sparse_multiply_adds, bp.multiply_adds);
    // A layer that is pruned anew has a mask along input channels alone.
    Recipe asked = recipe;
    const Graph but_one = pruned(network(), options, {{"conv3", false}});
    EXPECT_EQ(keep_held_masks(but_one, asked, first_value).recipe.bp_weight, WeightRule::frozen);
    asked.overrides = {{"conv3", true}};
    EXPECT_EQ(keep_held_masks(but_one, asked, first_value).recipe.bp_weight, WeightRule::ff_mask);

    // The same step as with BP run dense.
    const auto gradient_of = [&](const Recipe& one) {
        const auto executor = make_reference_executor(build_training_step(both, one, {}));
        initialize(*executor, 0);
        Random random(3);
        Tensor images(executor->step().graph.type(executor->step().images).shape);
        for (float& pixel : images.f32()) pixel = random.normal();
        executor->write(executor->step().images, images);
        executor->gradients({});
        const auto& parameters = executor->step().parameters;
        const Tensor gradient = executor->read(parameters.front().gradient);
        const auto values = gradient.as<double>();
        return std::vector<double>(values.begin(), values.end());
    };
    const std::vector<double> sparse = gradient_of(held.recipe), dense = gradient_of(recipe);
    ASSERT_EQ(sparse.size(), dense.size());
    for (size_t i = 0; i < dense.size(); ++i) EXPECT_TRUE(std::abs(sparse[i] - dense[i]) <= 1e-12) << i;
}

}  // namespace
}  // namespace enmesh
