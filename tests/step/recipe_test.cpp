#include <algorithm>

#include "enmesh/base/error.hpp"
#include "enmesh/sparsity/selection.hpp"
#include "reference/run.hpp"
#include "step/net.hpp"

namespace enmesh::test {
namespace {

/// stem (first) - mid - grouped - dw (depthwise) - odd (12 channels) - fc1 - head (classifier).
Graph sparse_net(int64_t batch = 2) {
    Net net({batch, 3, 5, 5});
    const Conv2d same{.padding = {1, 1, 1, 1}};
    ValueId x = net.add(Relu{}, {net.conv("stem", net.images, 16, 3, same)});
    x = net.conv("mid", x, 16, 3, {.stride = {2, 2}, .padding = {1, 1, 1, 1}});
    x = net.add(BatchNorm{}, {x, net.parameter("bn.gamma", {16}), net.parameter("bn.beta", {16}),
                              net.state("bn.mean", {16}, 0), net.state("bn.variance", {16}, 1)});
    x = net.conv("grouped", net.add(Gelu{}, {x}), 32, 1, {.groups = 2});
    x = net.conv("dw", x, 32, 3, {.padding = {1, 1, 1, 1}, .groups = 32});
    x = net.conv("odd", x, 12, 1);
    x = net.flatten(net.add(AveragePool2d{{.kernel = {3, 3}, .stride = {3, 3}}}, {x}));
    x = net.linear("fc0", x, 16);
    x = net.add(Gelu{}, {net.linear("fc1", x, 16)});
    return net.finish(net.linear("head", x, 5));
}

const Node* product_of(const TrainingStep& step, const std::string& layer, Stage stage) {
    for (const Node& node : step.graph.nodes()) {
        if (node.layer == layer && node.stage == stage && is_product(node.operation)) return &node;
    }
    return nullptr;
}

bool is_nm(const TrainingStep& step, const Node& node, size_t input, GroupAxis axis) {
    const NmSparsity* const sparse = step.graph.type(node.inputs[input]).nm();
    return sparse != nullptr && *sparse == NmSparsity{step.recipe.pattern, axis};
}

struct Wanted {
    std::string method;
    bool ff_weight, bp_weight, bp_gradient, wg_gradient;
};

const Wanted table[] = {
    {"dense", false, false, false, false}, {"asp", true, false, false, false},
    {"ste", true, false, false, false},    {"sr-ste", true, false, false, false},
    {"sdgp", false, false, true, false},   {"sdwp", false, true, false, false},
    {"bdwp", true, true, false, false},    {"transposable", true, true, false, false},
    {"mvue", false, false, false, true},   {"bdwp+mvue", true, true, false, true},
    {"bdwp+sr", true, true, false, false}, {"sdgp+mvue", false, false, true, true},
};

TEST(Recipes, PutEachNmOperandWhereTheTableSays) {
    for (const Pattern pattern : {Pattern{1, 2}, Pattern{2, 4}, Pattern{2, 8}, Pattern{7, 8}}) {
        for (const Wanted& want : table) {
            const TrainingStep step =
                build_training_step(sparse_net(), make_recipe(want.method, pattern), {});
            for (const char* const layer : {"mid", "grouped", "fc1"}) {
                const std::string what = want.method + " " + to_string(pattern) + " " + layer;
                const Node *ff = product_of(step, layer, Stage::FF), *bp = product_of(step, layer, Stage::BP),
                           *wg = product_of(step, layer, Stage::WG);
                const bool whole = layer != std::string("grouped");  // a grouped BP and WG stay dense
                EXPECT_EQ(is_nm(step, *ff, 1, GroupAxis::input_channels), want.ff_weight) << what;
                EXPECT_EQ(is_nm(step, *bp, 1, GroupAxis::output_channels), want.bp_weight && whole) << what;
                EXPECT_EQ(is_nm(step, *bp, 0, GroupAxis::gradient_channels), want.bp_gradient && whole)
                    << what;
                EXPECT_EQ(is_nm(step, *wg, 1, GroupAxis::positions), want.wg_gradient && whole) << what;
                EXPECT_TRUE(step.graph.type(ff->inputs[0]).dense() && step.graph.type(wg->inputs[0]).dense());
            }
            for (const char* const layer : {"stem", "head", "dw"}) {
                for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
                    const Node* const product = product_of(step, layer, stage);
                    if (product == nullptr) continue;
                    for (const ValueId input : product->inputs)
                        EXPECT_TRUE(step.graph.type(input).dense()) << want.method << " " << layer;
                }
            }
        }
    }
}

const LayerDecision& decision_of(const TrainingStep& step, const std::string& layer, Stage stage) {
    for (const LayerDecision& decision : step.decisions) {
        if (decision.layer == layer && decision.stage == stage) return decision;
    }
    throw std::runtime_error("no decision on " + layer);
}

TEST(Recipes, SayWhatIsLeftDenseAndWhy) {
    const TrainingStep step = build_training_step(sparse_net(), make_recipe("bdwp", Pattern{2, 8}), {});
    EXPECT_EQ(decision_of(step, "stem", Stage::BP).reason, "");  // it has no BP
    EXPECT_EQ(decision_of(step, "stem", Stage::FF).reason, "3 input channels are not a multiple of M = 8");
    EXPECT_EQ(decision_of(step, "head", Stage::FF).reason, "classifier");
    EXPECT_EQ(decision_of(step, "dw", Stage::FF).reason, "depthwise convolution");
    EXPECT_EQ(decision_of(step, "odd", Stage::BP).reason, "12 output channels are not a multiple of M = 8");
    EXPECT_TRUE(decision_of(step, "odd", Stage::FF).sparse);
    EXPECT_TRUE(decision_of(step, "grouped", Stage::FF).sparse);
    EXPECT_EQ(decision_of(step, "grouped", Stage::BP).reason, "grouped convolution");
    EXPECT_EQ(decision_of(step, "mid", Stage::WG).reason, "");
    EXPECT_FALSE(decision_of(step, "mid", Stage::WG).sparse);
    const TrainingStep ste = build_training_step(sparse_net(), make_recipe("ste", Pattern{2, 8}), {});
    EXPECT_EQ(decision_of(ste, "mid", Stage::BP).reason,
              "FF's mask is chosen along input channels alone: runs as dense");
    EXPECT_NE(print(ste).find("left dense: mid BP: FF's mask is chosen along"), std::string::npos);
}

std::string refusal_of(const Recipe& recipe) {
    try {
        build_training_step(sparse_net(), recipe, {});
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(Recipes, AreOverriddenByNamePattern) {
    Recipe recipe = make_recipe("bdwp", Pattern{2, 4});
    recipe.overrides = {{"f*", false}, {"fc1", true}, {"head", true}, {"m?d", false}};
    const TrainingStep step = build_training_step(sparse_net(), recipe, {});
    EXPECT_EQ(decision_of(step, "fc0", Stage::FF).reason, "asked for by 'f*'");
    EXPECT_EQ(decision_of(step, "mid", Stage::BP).reason, "asked for by 'm?d'");
    EXPECT_TRUE(decision_of(step, "fc1", Stage::FF).sparse);  // the last match counts
    EXPECT_TRUE(decision_of(step, "head", Stage::FF).sparse);
    EXPECT_EQ(decision_of(step, "head", Stage::BP).reason, "5 output channels are not a multiple of M = 4");
    recipe.overrides = {{"stem", true}};
    EXPECT_EQ(refusal_of(recipe), "layer 'stem' cannot be 2:4: 3 input channels are not a multiple of M = 4");
    recipe.overrides = {{"mids", false}};
    EXPECT_EQ(refusal_of(recipe), "'mids' matches no layer (did you mean 'mid'?)");
}

TEST(Recipes, RefuseASparseLayerOfWhichNothingCanBeSparse) {
    const auto refusal = [](std::string_view method, const std::string& layer) {
        Recipe recipe = make_recipe(method, Pattern{2, 4});
        recipe.overrides = {{layer, true}};
        return refusal_of(recipe);
    };
    EXPECT_EQ(refusal("sdwp", "head"),
              "layer 'head' cannot be 2:4: 5 output channels are not a multiple of M = 4");
    EXPECT_EQ(refusal("sdgp", "stem"),
              "layer 'stem' cannot be 2:4: it has no BP product: nobody needs its diff_src");
    EXPECT_EQ(refusal("bdwp", "dw"), "layer 'dw' cannot be 2:4: depthwise convolution");
    EXPECT_EQ(refusal("bdwp", "head"), "");  // FF at least
    EXPECT_EQ(refusal("sdwp", "he*"), "");
}

TEST(Recipes, GiveLayersPatternsOfTheirOwn) {
    Recipe recipe = make_recipe("bdwp+mvue", Pattern{2, 8});
    recipe.overrides = {{"fc*", true, {1, 4}}, {"odd", true, {2, 4}}};
    const TrainingStep step = build_training_step(sparse_net(), recipe, {});
    EXPECT_EQ(patterns_text(recipe, step.decisions), "2:8+2:4+1:4");
    const auto pattern_of = [&](const std::string& layer, Stage stage, size_t input) {
        return step.graph.type(product_of(step, layer, stage)->inputs[input]).nm()->pattern;
    };
    EXPECT_EQ(pattern_of("mid", Stage::FF, 1), (Pattern{2, 8}));
    for (const char* const layer : {"fc0", "fc1"}) {
        EXPECT_EQ(pattern_of(layer, Stage::FF, 1), (Pattern{1, 4}));
        EXPECT_EQ(pattern_of(layer, Stage::BP, 1), (Pattern{1, 4}));
        EXPECT_EQ(pattern_of(layer, Stage::WG, 1), (Pattern{1, 4}));
        EXPECT_EQ(decision_of(step, layer, Stage::FF).pattern, (Pattern{1, 4}));
    }
    EXPECT_EQ(pattern_of("odd", Stage::BP, 1), (Pattern{2, 4}));  // 12 channels, which 8 does not divide
    recipe = make_recipe("bdwp", Pattern{2, 8});
    recipe.overrides = {{"fc1", true, {2, 5}}};
    EXPECT_EQ(refusal_of(recipe),
              "layer 'fc1' cannot be 2:5: 16 output channels are not a multiple of M = 5");
}

TEST(Recipes, RefuseWeightsThatAreToHoldTwoPatterns) {
    Net net({2, 8});
    const ValueId weights = net.parameter("shared.weight", {8, 8});
    ValueId x = net.linear("first", net.images, 8);
    x = net.graph.add_one(Linear{}, {x, weights}, "a");
    x = net.graph.add_one(Linear{}, {x, weights}, "b");
    const Graph graph = net.finish(net.linear("last", x, 3));
    Recipe recipe = make_recipe("bdwp", Pattern{2, 4});
    build_training_step(graph, recipe, {});
    recipe.overrides = {{"b", true, {1, 4}}};
    try {
        build_training_step(graph, recipe, {});
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()),
                  "layer 'b': its weights 'shared.weight' serve another layer too, which is 2:4 and not 1:4");
    }
}

TEST(Recipes, RefuseWhatTheyDoNotKnow) {
    const auto message = [](std::string_view method, std::optional<Pattern> pattern) {
        try {
            make_recipe(method, pattern);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_EQ(message("bdpw", Pattern{2, 8}), "unknown method 'bdpw' (did you mean 'bdwp'?)");
    EXPECT_NE(message("bdwp", std::nullopt).find("needs a pattern"), std::string::npos);
    EXPECT_NE(message("bdwp", Pattern{8, 8}), "");
    EXPECT_NE(message("bdwp", Pattern{2, 17}), "");
    EXPECT_NE(message("sdgp+sr", Pattern{2, 8}).find("nothing to decay"), std::string::npos);
    EXPECT_NE(message("bdwp+mvu", Pattern{2, 8}).find("did you mean 'mvue'"), std::string::npos);
    EXPECT_EQ(message("dense", std::nullopt), "");
    for (const std::string& method : method_names())
        EXPECT_NE(recipe_table().find("\n" + method + " "), std::string::npos) << method;
}

reference::Array dense_array(const Executor& executor, ValueId id) {
    ValueType type = executor.step().graph.type(id);
    type.sparsity = {};
    return {type, doubles(executor, id), {}};
}

/// Every product of the step, against the same product of its operands' dense forms.
void check_products(const Executor& executor, const std::string& what) {
    for (const Node& node : executor.step().graph.nodes()) {
        if (!is_product(node.operation)) continue;
        std::vector<reference::Array> inputs;
        for (const ValueId input : node.inputs) inputs.push_back(dense_array(executor, input));
        reference::Array output{executor.step().graph.type(node.outputs[0]), {}, {}};
        output.clear();
        reference::Frame frame;
        for (const reference::Array& input : inputs) frame.inputs.push_back(&input);
        frame.outputs = {&output};
        std::visit([&](const auto& op) { reference::run(op, frame); }, node.operation.attributes);
        expect_near(doubles(executor, node.outputs[0]), output.data, 1e-12,
                    what + " " + node.layer + " " + to_string(node.stage));
    }
}

std::vector<double> masked(const std::vector<double>& weights, const Shape& shape, GroupAxis axis,
                           Pattern pattern) {
    std::vector<uint8_t> mask(weights.size());
    const std::vector<float> floats(weights.begin(), weights.end());
    magnitude_mask(shape, axis, pattern, floats, mask);
    std::vector<double> result = weights;
    for (size_t i = 0; i < result.size(); ++i) result[i] *= mask[i];
    return result;
}

/// The packed weight operands are the masters under magnitude masks of the operand's own axis.
void check_magnitude_operands(const Executor& executor) {
    const TrainingStep& step = executor.step();
    for (const char* const layer : {"mid", "grouped", "fc1"}) {
        const ValueId id = step.graph.find(std::string(layer) + ".weight");
        for (const Stage stage : {Stage::FF, Stage::BP}) {
            const ValueId operand = product_of(step, layer, stage)->inputs[1];
            const NmSparsity* const sparse = step.graph.type(operand).nm();
            if (sparse == nullptr) continue;
            expect_near(
                doubles(executor, operand),
                masked(doubles(executor, id), step.graph.type(id).shape, sparse->axis, sparse->pattern), 0,
                layer);
        }
    }
}

void run_update(Executor& executor, int update) {
    executor.gradients({.seed = 4, .update = update});
    executor.update({.seed = 4, .update = update});
}

TEST(SparseSteps, ComputeTheProductsOfTheirCompactOperands) {
    for (const Wanted& want : table) {
        const Recipe recipe = make_recipe(want.method, Pattern{2, 8});
        const auto executor = ready(build_training_step(sparse_net(), recipe, {}));
        run_update(*executor, 0);
        executor->gradients({.seed = 4, .update = 1});
        check_products(*executor, want.method);
        const bool by_mask = want.method == "asp" || want.method == "transposable";
        if (!by_mask) check_magnitude_operands(*executor);
    }
}

/// Groups run where their rule says: the N:M gradients are the dense ones, pruned.
TEST(SparseSteps, PruneOutGradsAlongChannels) {
    const auto executor = ready(build_training_step(sparse_net(), make_recipe("sdgp", Pattern{2, 8}), {}));
    executor->gradients({});
    const TrainingStep& step = executor->step();
    const Node* const product = product_of(step, "mid", Stage::BP);
    const Shape& shape = step.graph.type(product->inputs[0]).shape;  // 2 x 16 x 3 x 3
    const auto pruned = doubles(*executor, product->inputs[0]);
    const auto dense = doubles(*executor, product_of(step, "mid", Stage::WG)->inputs[1]);
    const auto area = static_cast<size_t>(shape[2] * shape[3]), channels = static_cast<size_t>(shape[1]);
    for (size_t n = 0; n < 2; ++n) {
        for (size_t pixel = 0; pixel < area; ++pixel) {
            for (size_t begin = 0; begin < channels; begin += 8) {
                std::vector<double> group, kept;
                for (size_t k = begin; k < begin + 8; ++k) {
                    group.push_back(std::abs(dense[(n * channels + k) * area + pixel]));
                    const double value = std::abs(pruned[(n * channels + k) * area + pixel]);
                    if (value != 0.0) kept.push_back(value);
                }
                std::sort(group.rbegin(), group.rend());
                std::sort(kept.rbegin(), kept.rend());
                group.resize(2);
                EXPECT_EQ(kept, group);
            }
        }
    }
}

TEST(SparseSteps, KeepTheTailOfMvueDense) {
    // 2 x 3 x 3 positions: two groups of 8 and a tail of 2.
    const auto executor = ready(build_training_step(sparse_net(), make_recipe("mvue", Pattern{2, 8}), {}));
    executor->gradients({});
    const Node* const product = product_of(executor->step(), "mid", Stage::WG);
    const auto pruned = doubles(*executor, product->inputs[1]);
    const auto dense = doubles(*executor, product_of(executor->step(), "mid", Stage::BP)->inputs[0]);
    for (size_t k = 0; k < 16; ++k) {
        size_t kept = 0;
        for (size_t position = 0; position < 16; ++position) {
            const size_t at = (position / 9 * 16 + k) * 9 + position % 9;
            kept += pruned[at] != 0.0 ? 1 : 0;
            EXPECT_GE(std::abs(pruned[at]) + 1e-15, pruned[at] != 0.0 ? std::abs(dense[at]) : 0.0);
        }
        EXPECT_EQ(kept, 4U);
        for (size_t pixel = 7; pixel < 9; ++pixel) {
            const size_t at = (16 + k) * 9 + pixel;
            EXPECT_EQ(pruned[at], dense[at]);
        }
    }
}

/// STE: a dense step on the masked weights, its unmasked weight gradient applied to the masters.
TEST(SparseSteps, SteIsADenseStepOnMaskedWeights) {
    const StepOptions options{.optimizer = Sgd{.momentum = 0, .weight_decay = 0}};
    const Pattern pattern{2, 4};
    const auto ste = ready(build_training_step(sparse_net(), make_recipe("ste", pattern), options));
    const auto dense = ready(build_training_step(sparse_net(), {}, options));
    for (const LayerDecision& decision : ste->step().decisions) {
        if (decision.stage != Stage::FF || !decision.sparse) continue;
        const ValueId id = dense->step().graph.find(decision.layer + ".weight");
        write_doubles(*dense, id,
                      masked(doubles(*dense, id), dense->step().graph.type(id).shape,
                             GroupAxis::input_channels, pattern));
    }
    std::vector<std::vector<double>> masters;
    for (const StepParameter& parameter : ste->step().parameters)
        masters.push_back(doubles(*ste, parameter.weights));
    run_update(*ste, 0);
    run_update(*dense, 0);
    EXPECT_EQ(doubles(*ste, ste->step().loss), doubles(*dense, dense->step().loss));
    for (size_t p = 0; p < masters.size(); ++p) {
        const StepParameter& parameter = ste->step().parameters[p];
        const std::string& name = ste->step().graph.value(parameter.weights).name;
        const StepParameter& other = dense->step().parameters[p];
        std::vector<double> want = masters[p];
        const std::vector<double> gradient = doubles(*dense, other.gradient);
        for (size_t i = 0; i < want.size(); ++i) want[i] -= static_cast<double>(0.1F) * gradient[i];
        expect_near(doubles(*ste, parameter.gradient), gradient, 1e-12, name + " gradient");
        expect_near(doubles(*ste, parameter.weights), want, 1e-12, name);
    }
}

TEST(SparseSteps, PreGenerationAndOnDemandGiveTheSameBits) {
    for (const Wanted& want : table) {
        StepOptions options;
        options.average_decay = 0.9;
        Recipe recipe = make_recipe(want.method, Pattern{2, 8});
        recipe.mask_period = 2;
        const auto early = ready(build_training_step(sparse_net(), recipe, options), DType::f32);
        recipe.pre_generate = false;
        const auto late = ready(build_training_step(sparse_net(), recipe, options), DType::f32);
        for (int update = 0; update < 4; ++update) {
            run_update(*early, update);
            run_update(*late, update);
        }
        EXPECT_EQ(doubles(*early, early->step().loss), doubles(*late, late->step().loss)) << want.method;
        for (const StepParameter& parameter : early->step().parameters) {
            const std::string& name = early->step().graph.value(parameter.weights).name;
            EXPECT_EQ(doubles(*early, name), doubles(*late, name)) << want.method << " " << name;
        }
    }
}

TEST(SparseSteps, AddSrDecayOncePerUpdate) {
    StepOptions options{.optimizer = Sgd{.momentum = 0, .weight_decay = 0}};
    options.accumulate = 3;
    Recipe recipe = make_recipe("sr-ste", Pattern{2, 8});
    recipe.sr_decay = 0.25;
    const auto executor = ready(build_training_step(sparse_net(), recipe, options));
    executor->write(executor->step().gradient_scale, scalar(0.5F));
    const ValueId id = executor->step().graph.find("fc1.weight");
    const std::vector<double> before = doubles(*executor, id);
    for (int64_t part = 0; part < 3; ++part) executor->gradients({.micro_batch = part});
    const auto& parameters = executor->step().parameters;
    const auto parameter =
        std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.weights == id; });
    const std::vector<double> gradient = doubles(*executor, parameter->gradient);
    executor->update({});
    const std::vector<double> kept =
        masked(before, executor->step().graph.type(id).shape, GroupAxis::input_channels, recipe.pattern);
    std::vector<double> want = before;
    for (size_t i = 0; i < want.size(); ++i) {
        const double decay = kept[i] == 0.0 ? 0.25 * before[i] : 0.0;
        want[i] -= static_cast<double>(0.1F) * (0.5 * gradient[i] + decay);
    }
    expect_near(doubles(*executor, id), want, 1e-12, "fc1.weight");
}

TEST(SparseSteps, AspKeepsPrunedWeightsAndMomentumAtZero) {
    const Pattern pattern{2, 4};
    const auto executor = ready(build_training_step(sparse_net(), make_recipe("asp", pattern), {}));
    ASSERT_EQ(executor->step().frozen_masks.size(), 5U);
    for (int update = 0; update < 3; ++update) run_update(*executor, update);
    for (const FrozenMask& frozen : executor->step().frozen_masks) {
        const std::string& name = executor->step().graph.value(frozen.weights).name;
        const auto mask = doubles(*executor, frozen.mask), weights = doubles(*executor, frozen.weights),
                   velocity = doubles(*executor, name + ".velocity");
        size_t kept = 0;
        for (size_t i = 0; i < mask.size(); ++i) {
            kept += mask[i] != 0.0 ? 1 : 0;
            if (mask[i] == 0.0) {
                EXPECT_EQ(weights[i], 0.0) << name;
                EXPECT_EQ(velocity[i], 0.0) << name;
            }
        }
        EXPECT_EQ(kept, mask.size() / 2) << name;
        // Weights that are N:M keep their mask, whatever their magnitudes are now.
        choose_frozen_mask(*executor, frozen);
        EXPECT_EQ(doubles(*executor, frozen.mask), mask) << name;
    }
}

TEST(SparseSteps, RenewTransposableMasksAtTheirPeriod) {
    Recipe recipe = make_recipe("transposable", Pattern{2, 4});
    recipe.mask_period = 3;
    const auto executor = ready(
        build_training_step(sparse_net(), recipe, {.optimizer = Sgd{.momentum = 0, .weight_decay = 0}}));
    auto mask = doubles(*executor, "fc1.weight.mask");
    EXPECT_EQ(std::count(mask.begin(), mask.end(), 1.0), 128);
    for (int update = 0; update < 5; ++update) {
        run_update(*executor, update);
        const auto now = doubles(*executor, "fc1.weight.mask");
        EXPECT_EQ(now != mask, update % 3 == 0) << update;
        mask = now;
    }
    const Node* const bp = product_of(executor->step(), "fc1", Stage::BP);
    const Node* const ff = product_of(executor->step(), "fc1", Stage::FF);
    EXPECT_EQ(doubles(*executor, ff->inputs[1]), doubles(*executor, bp->inputs[1]));
}

// A grouped BP cannot run the mask N:M, but it must differentiate what FF computed.
TEST(SparseSteps, AGroupedConvolutionsBpHasTheTransposableMaskToo) {
    for (const bool pre_generate : {true, false}) {
        Recipe recipe = make_recipe("transposable", Pattern{2, 4});
        recipe.pre_generate = pre_generate;
        recipe.overrides = {{"*", false}, {"grouped", true}};
        const auto sparse = ready(build_training_step(sparse_net(), recipe, {}));
        const auto dense = ready(build_training_step(sparse_net(), {}, {}));
        const TrainingStep& step = sparse->step();
        EXPECT_EQ(decision_of(step, "grouped", Stage::BP).reason, "grouped convolution");
        Tensor weights = sparse->read(step.graph.find("grouped.weight"));
        const Tensor mask = sparse->read(step.graph.find("grouped.weight.mask"));
        const auto values = weights.as<double>();
        for (size_t i = 0; i < values.size(); ++i) values[i] *= mask.as<uint8_t>()[i];
        dense->write(dense->step().graph.find("grouped.weight"), weights);
        sparse->gradients({});
        dense->gradients({});
        const auto gradient_of = [](const Executor& executor) {
            for (const StepParameter& parameter : executor.step().parameters) {
                if (executor.step().graph.value(parameter.weights).name == "mid.weight")
                    return doubles(executor, parameter.gradient);
            }
            return std::vector<double>();
        };
        expect_near(gradient_of(*sparse), gradient_of(*dense), 1e-12, "the gradient before it");
    }
}

int64_t count_of(const TrainingStep& step, const std::string& layer, Stage stage, bool sparse) {
    const Node& node = *product_of(step, layer, stage);
    std::vector<ValueType> inputs, outputs;
    for (const ValueId id : node.inputs) inputs.push_back(step.graph.type(id));
    for (const ValueId id : node.outputs) outputs.push_back(step.graph.type(id));
    const OperationCount counted = count(node.operation, inputs, outputs);
    return sparse ? counted.sparse_multiply_adds : counted.multiply_adds;
}

TEST(Counts, SparseProductsCountTheirShare) {
    const int64_t mid = 2 * 16 * 9 * 16 * 9, grouped = 2 * 32 * 9 * 8, fc1 = 2 * 16 * 16;
    for (const Wanted& want : table) {
        const TrainingStep step =
            build_training_step(sparse_net(), make_recipe(want.method, Pattern{2, 8}), {});
        const auto check = [&](const std::string& layer, int64_t dense) {
            for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
                EXPECT_EQ(count_of(step, layer, stage, false), dense) << layer;
            }
            EXPECT_EQ(count_of(step, layer, Stage::FF, true), want.ff_weight ? dense / 4 : dense);
            const bool bp = (want.bp_weight || want.bp_gradient) && layer != "grouped";
            EXPECT_EQ(count_of(step, layer, Stage::BP, true), bp ? dense / 4 : dense) << want.method;
        };
        check("mid", mid);
        check("grouped", grouped);
        check("fc1", fc1);
        // 18 positions: two groups of 8 at 2, the tail of 2 whole: 6 of 18.
        EXPECT_EQ(count_of(step, "mid", Stage::WG, true), want.wg_gradient ? mid / 3 : mid) << want.method;
    }
}

TEST(Counts, StagesAddUp) {
    Net net({2, 8});
    const Graph graph = net.finish(net.linear("c", net.linear("b", net.linear("a", net.images, 8), 8), 8));
    const TrainingStep step = build_training_step(graph, make_recipe("bdwp", Pattern{1, 4}), {});
    EXPECT_EQ(count_products(step, Stage::FF).multiply_adds, 3 * 128);
    EXPECT_EQ(count_products(step, Stage::FF).sparse_multiply_adds, 2 * 128 + 32);
    EXPECT_EQ(count_products(step, Stage::BP).multiply_adds, 2 * 128);  // nothing is before a
    EXPECT_EQ(count_products(step, Stage::BP).sparse_multiply_adds, 128 + 32);
    EXPECT_EQ(count_products(step, Stage::WG).sparse_multiply_adds, 3 * 128);
    EXPECT_GT(peak_bytes(step), 3 * 64 * 4 * 2);
}

TEST(Steps, PrintReadably) {
    Net net({2, 4});
    const Graph graph = net.finish(net.linear("c", net.linear("b", net.linear("a", net.images, 4), 4), 3));
    const std::string text = print(build_training_step(graph, make_recipe("bdwp", Pattern{2, 4}), {}));
    for (const char* const line : {
             "input     images: f32 2x4\n",
             "parameter b.weight: f32 4x4\n",
             "state     b.weight.ff: f32 4x4 2:4 along input channels\n",
             "FF  b         linear                  %5, b.weight.ff -> %7: f32 2x4\n",
             "BP  b         linear_backward_data ",
             "WG  b         linear_backward_weights ",
             "WU  b.weight  sgd_update ",
             "[pattern=2:4 axis=output_channels]\n",
             "left dense: c FF: classifier\n",
         })
        EXPECT_NE(text.find(line), std::string::npos) << line << "\nin\n" << text;
}

/// A carried result takes its state's place: nothing may read the old value afterwards.
TEST(Steps, ReadNoStateAfterItWasReplaced) {
    for (const Wanted& want : table) {
        for (const bool pre_generate : {true, false}) {
            Recipe recipe = make_recipe(want.method, Pattern{2, 8});
            recipe.pre_generate = pre_generate;
            StepOptions options{.optimizer = AdamW{}};
            options.accumulate = 2;
            options.average_decay = 0.9;
            options.clip_norm = 1;
            const TrainingStep step = build_training_step(sparse_net(), recipe, options);
            const auto consumers = step.graph.consumers();
            for (const auto& [result, state] : step.carried) {
                const int producer = step.graph.value(result).producer;
                for (const int consumer : consumers[static_cast<size_t>(state.index)])
                    EXPECT_LE(consumer, producer) << want.method << " " << step.graph.value(state).name;
            }
        }
    }
}

}  // namespace
}  // namespace enmesh::test
