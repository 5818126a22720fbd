#include "enmesh/models/models.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>

#include "enmesh/base/error.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh {
namespace {

ModelOptions imagenet(int64_t batch = 1) {
    return {.classes = 1000, .image = {3, 224, 224}, .width = 1, .batch = batch};
}

int64_t parameter_count(const Graph& graph) {
    int64_t count = 0;
    for (const Value& value : graph.values()) {
        if (value.role == Role::parameter) count += value.type.shape.elements();
    }
    return count;
}

int64_t multiply_adds(const Graph& graph, bool attention = true) {
    int64_t total = 0;
    for (const Node& node : graph.nodes()) {
        if (!is_product(node.operation) || (!attention && node.operation.is<MatMul>())) continue;
        std::vector<ValueType> inputs, outputs;
        for (const ValueId id : node.inputs) inputs.push_back(graph.type(id));
        for (const ValueId id : node.outputs) outputs.push_back(graph.type(id));
        total += count(node.operation, inputs, outputs).multiply_adds;
    }
    return total;
}

std::string message_of(const std::string& model, const ModelOptions& options) {
    try {
        build_model(model, options);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::request);
        return error.what();
    }
    return "";
}

// The published counts of torchvision 0.15 and timm 0.9.
TEST(Models, ParameterCountsAreTheWellKnownOnes) {
    const std::map<std::string, int64_t> known{
        {"resnet18", 11'689'512}, {"resnet34", 21'797'672}, {"resnet50", 25'557'032},  {"vgg16", 138'365'992},
        {"vgg19", 143'678'248},   {"vit_tiny", 5'717'416},  {"vit_small", 22'050'664},
    };
    for (const auto& [name, count] : known) {
        EXPECT_EQ(parameter_count(build_model(name, imagenet())), count) << name;
    }
}

// torchvision publishes 1.81, 3.66, 4.09, 15.47 and 19.63 GFLOPS of multiply-adds.
TEST(Models, MultiplyAddsAreTheWellKnownOnes) {
    const std::map<std::string, std::pair<double, double>> known{
        {"resnet18", {1.81e9, 1.82e9}}, {"resnet34", {3.66e9, 3.67e9}}, {"resnet50", {4.08e9, 4.10e9}},
        {"vgg16", {15.46e9, 15.48e9}},  {"vgg19", {19.62e9, 19.64e9}},
    };
    for (const auto& [name, range] : known) {
        const auto count = static_cast<double>(multiply_adds(build_model(name, imagenet())));
        EXPECT_GE(count, range.first) << name;
        EXPECT_LE(count, range.second) << name;
    }
}

TEST(Models, VisionTransformerCountsFollowFromItsShape) {
    const int64_t tokens = 197, width = 384;
    const Graph graph = build_model("vit_small", imagenet());
    const int64_t linears = 196 * 768 * width + 12 * tokens * 12 * width * width + 1000 * width;
    EXPECT_EQ(multiply_adds(graph, false), linears);
    EXPECT_EQ(multiply_adds(graph), linears + 12 * 2 * tokens * tokens * width);
}

TEST(Models, SmallStemsForSmallImages) {
    const ModelOptions cifar{.classes = 10, .image = {3, 32, 32}, .width = 1, .batch = 1};
    EXPECT_EQ(parameter_count(build_model("resnet18", cifar)), 11'173'962);
    EXPECT_EQ(multiply_adds(build_model("resnet18", cifar)), 555'422'720);
    EXPECT_EQ(parameter_count(build_model("resnet50", cifar)), 23'520'842);
    EXPECT_EQ(parameter_count(build_model("resnet9", cifar)), 6'573'130);
    EXPECT_EQ(parameter_count(build_model("lenet5", {.classes = 10, .image = {1, 32, 32}})), 61'706);
    EXPECT_EQ(parameter_count(build_model("mlp", {.classes = 10, .image = {1, 28, 28}})), 669'706);
    const Graph vgg = build_model("vgg16", cifar);
    EXPECT_EQ(vgg.type(vgg.find("classifier.weight")).shape, (Shape{10, 512}));
    const Graph vit = build_model("vit_tiny", cifar);
    EXPECT_EQ(vit.type(vit.find("patch_embed.proj.weight")).shape, (Shape{192, 3, 4, 4}));
    EXPECT_EQ(vit.type(vit.find("pos_embed")).shape, (Shape{1, 65, 192}));
}

TEST(Models, TheStemChangesAboveSixtyFourPixels) {
    const auto stem = [](int64_t side) {
        const Graph graph = build_model("resnet18", {.classes = 10, .image = {3, side, side}, .batch = 2});
        return graph.type(graph.find("conv1.weight")).shape;
    };
    EXPECT_EQ(stem(64), (Shape{64, 3, 3, 3}));
    EXPECT_EQ(stem(65), (Shape{64, 3, 7, 7}));
}

TEST(Models, EveryModelHasOneInputAndLogitsAndDifferentiates) {
    for (const std::string& name : model_names()) {
        const ModelOptions options{.classes = 7, .image = {3, 32, 32}, .width = 0.5, .batch = 2};
        const Graph graph = build_model(name, options);
        ASSERT_EQ(graph.outputs.size(), 1U) << name;
        EXPECT_EQ(graph.type(graph.outputs[0]).shape, (Shape{2, 7})) << name;
        EXPECT_EQ(graph.type(graph.find("images")).shape, (Shape{2, 3, 32, 32})) << name;
        for (const Recipe& recipe : {make_recipe("dense", {}), make_recipe("bdwp", Pattern{2, 4})}) {
            const TrainingStep step = build_training_step(graph, recipe, {});
            for (const StepParameter& parameter : step.parameters) {
                EXPECT_TRUE(parameter.gradient.valid())
                    << name << " " << step.graph.value(parameter.weights).name;
            }
        }
        build_inference_step(graph, make_recipe("dense", {}));
    }
}

TEST(Models, OnlyWeightsOfProductsDecay) {
    for (const std::string& name : model_names()) {
        const Graph graph = build_model(name, {.batch = 2});
        std::set<std::string> expected;
        for (const Node& node : graph.nodes()) {
            if (node.operation.is<Conv2d>() || node.operation.is<Linear>()) {
                expected.insert(graph.value(node.inputs[1]).name);
            }
        }
        for (const Value& value : graph.values()) {
            if (value.role == Role::parameter) {
                EXPECT_EQ(value.decayed, expected.contains(value.name)) << name << " " << value.name;
            }
        }
    }
}

TEST(Models, CheckpointsLookFamiliar) {
    const Graph resnet = build_model("resnet50", imagenet(2));
    for (const char* name :
         {"conv1.weight", "bn1.running_mean", "bn1.running_var", "layer1.0.downsample.0.weight",
          "layer3.5.conv3.weight", "layer4.2.bn3.bias", "fc.bias"}) {
        EXPECT_TRUE(resnet.find(name).valid()) << name;
    }
    EXPECT_FALSE(resnet.find("conv1.bias").valid());
    const Graph vgg = build_model("vgg16", imagenet());
    for (const char* name :
         {"features.0.weight", "features.0.bias", "features.1.running_var", "features.40.weight",
          "features.41.weight", "classifier.0.weight", "classifier.6.bias"}) {
        EXPECT_TRUE(vgg.find(name).valid()) << name;
    }
    const Graph vit = build_model("vit_small", imagenet());
    for (const char* name :
         {"cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.11.attn.qkv.weight",
          "blocks.0.attn.proj.bias", "blocks.0.mlp.fc2.weight", "norm.weight", "head.weight"}) {
        EXPECT_TRUE(vit.find(name).valid()) << name;
    }
}

TEST(Models, InitialDeviationsFollowTheFanOut) {
    const Graph graph = build_model("resnet18", {.batch = 2});
    const Value& weights = graph.value(graph.find("layer2.0.conv1.weight"));
    const Tensor tensor = initial_value(weights, 1);
    double squares = 0;
    for (const float w : tensor.f32()) squares += double{w} * w;
    const double deviation = std::sqrt(squares / static_cast<double>(tensor.elements()));
    EXPECT_NEAR(deviation, std::sqrt(2.0 / (128 * 9)), 5e-4);
    const Tensor gamma = initial_value(graph.value(graph.find("bn1.weight")), 1);
    for (const float g : gamma.f32()) EXPECT_EQ(g, 1.0F);
}

TEST(Models, WidthMultipliesEveryChannelCount) {
    const Graph graph = build_model("resnet18", {.width = 0.25, .batch = 2});
    EXPECT_EQ(graph.type(graph.find("layer4.1.conv2.weight")).shape, (Shape{128, 128, 3, 3}));
    EXPECT_EQ(graph.type(graph.find("fc.weight")).shape, (Shape{10, 128}));
    const Graph thin = build_model("resnet9", {.width = 0.001, .batch = 2});
    EXPECT_EQ(thin.type(thin.find("conv4.weight")).shape, (Shape{1, 1, 3, 3}));
}

TEST(Models, OddImagesAndBatchOne) {
    for (const char* name : {"resnet18", "resnet50", "mlp"}) {
        const Graph graph = build_model(name, {.classes = 5, .image = {2, 37, 51}, .batch = 1});
        EXPECT_EQ(graph.type(graph.outputs[0]).shape, (Shape{1, 5})) << name;
    }
    const Graph lenet = build_model("lenet5", {.classes = 10, .image = {1, 27, 8}, .batch = 1});
    EXPECT_EQ(lenet.type(lenet.find("fc1.weight")).shape, (Shape{120, 400}));
    const Graph large =
        build_model("vgg16", {.classes = 10, .image = {3, 448, 230}, .width = 0.125, .batch = 1});
    EXPECT_EQ(large.type(large.find("classifier.0.weight")).shape, (Shape{512, 64 * 49}));
}

TEST(Models, BdwpSavesAtLeastThirtyPercentOnTheDigits) {
    const Graph graph = build_model("digits_cnn", {.classes = 10, .image = {1, 8, 8}, .batch = 64});
    const TrainingStep step = build_training_step(graph, make_recipe("bdwp", Pattern{2, 8}), {});
    int64_t dense = 0, sparse = 0;
    for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
        dense += count_products(step, stage).multiply_adds;
        sparse += count_products(step, stage).sparse_multiply_adds;
    }
    EXPECT_LE(static_cast<double>(sparse), 0.70 * static_cast<double>(dense));
}

TEST(Models, TheImpossibleIsRefused) {
    EXPECT_EQ(message_of("resnt18", {}), "unknown model 'resnt18' (did you mean 'resnet18'?)");
    EXPECT_NE(message_of("transformer", {}).find("known: mlp"), std::string::npos);
    EXPECT_EQ(message_of("vgg16", {.image = {3, 28, 28}}),
              "vgg16 needs images of at least 32x32 pixels, got 28x28");
    EXPECT_NE(message_of("vgg16", {.image = {3, 96, 96}}), "");
    EXPECT_EQ(message_of("lenet5", {.image = {1, 33, 32}}),
              "lenet5 takes images of up to 32x32 pixels, got 33x32");
    EXPECT_NE(message_of("resnet9", {.image = {3, 7, 32}}), "");
    EXPECT_NE(message_of("resnet9", {.image = {3, 224, 224}}), "");
    EXPECT_NE(message_of("vit_tiny", {.image = {3, 30, 32}}), "");
    EXPECT_NE(message_of("vit_tiny", {.width = 0.1}), "");
    EXPECT_NE(message_of("mlp", {.classes = 0}), "");
    EXPECT_NE(message_of("mlp", {.image = {0, 8, 8}}), "");
    EXPECT_NE(message_of("mlp", {.image = {1 << 14, 1 << 14, 1 << 14}}), "");
    EXPECT_NE(message_of("mlp", {.batch = 0}), "");
    for (const double width : {0.0, -1.0, 17.0, std::nan(""), HUGE_VAL}) {
        EXPECT_NE(message_of("mlp", {.width = width}), "") << width;
    }
}

}  // namespace
}  // namespace enmesh
