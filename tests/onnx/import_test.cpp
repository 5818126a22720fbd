#include "enmesh/onnx/import.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "enmesh/step/step.hpp"
#include "onnx/model_maker.hpp"
#include "onnx/refusal.hpp"

namespace enmesh {
namespace {

using testing::Folder;
using testing::import;
using testing::ModelMaker;
using testing::small_network;

std::vector<std::string> operations(const Graph& graph) {
    std::vector<std::string> names;
    for (const Node& node : graph.nodes()) names.push_back(to_string(node.operation));
    return names;
}

TEST(onnx_import, names_shapes_and_values_are_the_files) {
    const onnx::Model model = import(small_network(), {.batch = 5});
    EXPECT_EQ(model.input, "pixels");
    EXPECT_EQ(model.output, "scores");
    EXPECT_TRUE(model.dynamic_batch);
    EXPECT_EQ(model.graph.type(model.graph.find("images")).shape, (Shape{5, 3, 8, 8}));
    EXPECT_EQ(model.graph.type(model.graph.outputs[0]).shape, (Shape{5, 4}));
    const ValueId weights = model.graph.find("conv.weight");
    ASSERT_TRUE(weights.valid());
    EXPECT_EQ(model.graph.value(weights).role, Role::parameter);
    EXPECT_TRUE(model.graph.value(weights).decayed);
    EXPECT_FALSE(model.graph.value(model.graph.find("norm.weight")).decayed);
    EXPECT_EQ(model.graph.value(model.graph.find("norm.running_var")).role, Role::state);
    EXPECT_EQ(model.graph.nodes()[0].layer, "conv");
    EXPECT_FLOAT_EQ(initial_value(model.graph.value(weights), 0).f32()[1], 0.02F);
    EXPECT_EQ(model.weights.size(), 7U);
    EXPECT_TRUE(model.notes.empty());
}

TEST(onnx_import, a_gemm_is_a_linear_whose_weights_are_outputs_by_inputs) {
    const onnx::Model model = import(small_network());
    const ValueId weights = model.graph.find("fc.weight");
    const Tensor tensor = initial_value(model.graph.value(weights), 0);
    EXPECT_FLOAT_EQ(tensor.f32()[1], 0.05F);  // the file's element (1, 0)
    const auto link = std::find_if(model.weights.begin(), model.weights.end(),
                                   [](const onnx::WeightLink& one) { return one.value == "fc.weight"; });
    ASSERT_NE(link, model.weights.end());
    EXPECT_EQ(link->steps, (std::vector<onnx::TensorStep>{{{1, 0}, {}}}));
}

TEST(onnx_import, it_can_be_trained) {
    const TrainingStep step = build_training_step(import(small_network(), {.batch = 4}).graph, {}, {});
    EXPECT_EQ(step.parameters.size(), 5U);
}

TEST(onnx_import, a_fixed_batch_is_changed) {
    ModelMaker maker = small_network();
    auto* const shape =
        maker.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
    shape->mutable_dim(0)->set_dim_value(1);
    const onnx::Model model = import(maker, {.batch = 6});
    EXPECT_FALSE(model.dynamic_batch);
    EXPECT_EQ(model.graph.type(model.graph.outputs[0]).shape, (Shape{6, 4}));
    ASSERT_EQ(model.notes.size(), 1U);
    EXPECT_NE(model.notes[0].find("fixes the batch at 1"), std::string::npos);
}

TEST(onnx_import, folded_norms_are_noticed) {
    ModelMaker maker;
    maker.input("x", {-1, 3, 8, 8});
    maker.weights("onnx::Conv_1", {4, 3, 3, 3});
    maker.weights("onnx::Conv_2", {4});
    maker.node("Conv", {"x", "onnx::Conv_1", "onnx::Conv_2"}, {"y"})
        .set_name("/features/features.0/conv/Conv");
    maker.output("y");
    const onnx::Model model = import(maker);
    ASSERT_EQ(model.notes.size(), 1U);
    EXPECT_NE(model.notes[0].find("PRESERVE"), std::string::npos);
    EXPECT_EQ(model.graph.nodes()[0].layer, "features.0.conv");
}

TEST(onnx_import, names_that_we_need_ourselves_are_avoided) {
    ModelMaker maker;
    maker.input("labels", {-1, 3, 8, 8});
    maker.weights("images", {4, 3, 1, 1});
    maker.weights("%1", {4});
    maker.node("Conv", {"labels", "images", "%1"}, {"y"});
    maker.output("y");
    const onnx::Model model = import(maker);
    EXPECT_TRUE(model.graph.find("weights.images").valid());
    EXPECT_TRUE(model.graph.find("weights.%1").valid());
    EXPECT_EQ(model.weights[0].initializer, "images");
}

TEST(onnx_import, running_statistics_that_norms_share_become_each_norms_own) {
    ModelMaker maker;
    maker.input("x", {-1, 4, 8, 8});
    for (const char* name : {"g", "b", "m", "v"}) maker.weights(name, {4});
    maker.node("BatchNormalization", {"x", "g", "b", "m", "v"}, {"y"});
    maker.node("BatchNormalization", {"y", "g", "b", "m", "v"}, {"z"});
    maker.node("Flatten", {"z"}, {"scores"});
    maker.output("scores");
    const onnx::Model model = import(maker);
    EXPECT_TRUE(model.graph.find("m").valid());
    EXPECT_TRUE(model.graph.find("m#2").valid());
    EXPECT_FALSE(model.graph.find("g#2").valid());
    EXPECT_EQ(build_training_step(model.graph, {}, {}).parameters.size(), 2U);
}

/// Adds a float32 number.
std::string number(ModelMaker& maker, float value) {
    const std::string name = "n" + std::to_string(maker.graph().initializer_size());
    maker.raw<float>(name, {}, 1, {value});
    return name;
}

TEST(onnx_import, decompositions_become_one_operation) {
    ModelMaker maker;
    maker.input("x", {-1, 3, 8, 8});
    maker.node("Div", {"x", number(maker, std::numbers::sqrt2_v<float>)}, {"a"});
    maker.node("Erf", {"a"}, {"b"});
    maker.node("Add", {"b", number(maker, 1)}, {"c"});
    maker.node("Mul", {"x", "c"}, {"d"});
    maker.node("Mul", {"d", number(maker, 0.5F)}, {"gelu"});
    maker.node("Sigmoid", {"gelu"}, {"s"});
    maker.node("Mul", {"s", "gelu"}, {"silu"});
    maker.node("Add", {"silu", number(maker, 3)}, {"p"});
    maker.node("Clip", {"p", number(maker, 0), number(maker, 6)}, {"q"});
    maker.node("Div", {"q", number(maker, 6)}, {"r"});
    maker.node("Mul", {"silu", "r"}, {"swish"});
    maker.output("swish");
    const std::vector<std::string> expected{"gelu", to_string(Operation(Unary{UnaryKind::silu})),
                                            to_string(Operation(Unary{UnaryKind::hard_swish}))};
    EXPECT_EQ(operations(import(maker).graph), expected);
}

TEST(onnx_import, what_only_looks_like_a_decomposition_is_left_alone) {
    ModelMaker maker;
    maker.input("x", {-1, 3, 8, 8});
    maker.node("Relu", {"x"}, {"other"});
    maker.node("Sigmoid", {"x"}, {"s"});
    maker.node("Mul", {"s", "other"}, {"y"});
    maker.output("y");
    EXPECT_EQ(import(maker).graph.nodes().size(), 3U);
}

TEST(onnx_import, shape_arithmetic_leaves_nothing_behind) {
    ModelMaker maker;
    maker.input("x", {-1, 3, 8, 8});
    maker.node("Shape", {"x"}, {"shape"});
    maker.raw<int64_t>("zero", {}, 7, {0});
    maker.integers("axis", {0});
    maker.integers("rest", {-1});
    maker.node("Gather", {"shape", "zero"}, {"batch"});
    maker.node("Unsqueeze", {"batch", "axis"}, {"list"});
    ModelMaker::set(maker.node("Concat", {"list", "rest"}, {"target"}), "axis", int64_t{0});
    maker.node("Reshape", {"x", "target"}, {"y"});
    maker.output("y");
    const onnx::Model model = import(maker, {.batch = 7});
    ASSERT_EQ(model.graph.nodes().size(), 1U);
    EXPECT_EQ(model.graph.type(model.graph.outputs[0]).shape, (Shape{7, 192}));
}

}  // namespace
}  // namespace enmesh
