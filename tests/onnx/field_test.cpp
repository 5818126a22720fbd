// Inputs from the field: what converters write that is right, if unusual.
#include <gtest/gtest.h>

#include <algorithm>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/graph/operations.hpp"
#include "enmesh/onnx/export.hpp"
#include "onnx/model_maker.hpp"
#include "onnx/refusal.hpp"

namespace enmesh {
namespace {

using testing::Folder;
using testing::import;
using testing::ModelMaker;
using testing::small_network;

::onnx::NodeProto& node_of(ModelMaker& maker, const std::string& type) {
    for (::onnx::NodeProto& node : *maker.graph().mutable_node()) {
        if (node.op_type() == type) return node;
    }
    throw std::runtime_error("no " + type);
}

/// pixels -> Flatten -> Gemm with `weights`, a value that the caller makes.
ModelMaker linear_network(int64_t opset = 17) {
    ModelMaker maker(opset);
    maker.input("pixels", {-1, 1, 2, 2});
    maker.node("Flatten", {"pixels"}, {"rows"});
    maker.output("scores");
    return maker;
}

/// The model as save() writes it, its weights scaled.
::onnx::ModelProto exported(const ModelMaker& maker, float factor) {
    const Folder folder;
    const onnx::Model model = onnx::import(folder.put("m.onnx", maker.text()));
    onnx::save(folder / "out.onnx", model, [&](const Value& value) {
        Tensor tensor = initial_value(value, 0);
        for (float& element : tensor.f32()) element *= factor;
        return tensor;
    });
    ::onnx::ModelProto result;
    if (!result.ParseFromString(read_file(folder / "out.onnx"))) throw std::runtime_error("cannot be parsed");
    return result;
}

TEST(onnx_field, an_attribute_that_is_not_read_is_refused) {
    ModelMaker training = small_network();
    ModelMaker::set(node_of(training, "BatchNormalization"), "training_mode", int64_t{1});
    EXPECT_REFUSED(training, "training_mode = 1");
    ModelMaker older = small_network(9);
    node_of(older, "BatchNormalization").add_output("mean");
    EXPECT_REFUSED(older, "with more than one result it normalises with the statistics of each batch");
    ModelMaker evaluating = small_network();
    ModelMaker::set(node_of(evaluating, "BatchNormalization"), "training_mode", int64_t{0});
    EXPECT_NO_THROW((void)import(evaluating));
    for (const char* const type :
         {"Conv", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten", "Gemm"}) {
        ModelMaker unknown = small_network();
        ModelMaker::set(node_of(unknown, type), "twist", int64_t{3});
        EXPECT_REFUSED(unknown, "attribute 'twist' = 3 is not understood");
    }
}

TEST(onnx_field, an_attribute_without_effect_passes) {
    ModelMaker maker = small_network();
    ::onnx::NodeProto& pool = node_of(maker, "GlobalAveragePool");
    pool.set_op_type("MaxPool");
    ModelMaker::set(pool, "kernel_shape", std::vector<int64_t>{8, 8});
    ModelMaker::set(pool, "storage_order", int64_t{1});
    EXPECT_NO_THROW((void)import(maker));
}

TEST(onnx_field, weights_in_constant_nodes_are_trained_and_written_back) {
    ModelMaker maker = linear_network();
    ::onnx::AttributeProto& value = *maker.node("Constant", {}, {"w"}).add_attribute();
    value.set_name("value");
    value.set_type(::onnx::AttributeProto_AttributeType_TENSOR);
    value.mutable_t()->set_data_type(1);
    for (const int64_t dim : {3, 4}) value.mutable_t()->add_dims(dim);
    for (int i = 0; i < 12; ++i) value.mutable_t()->add_float_data(static_cast<float>(i) + 1);
    ModelMaker::set(maker.node("Gemm", {"rows", "w"}, {"scores"}), "transB", int64_t{1});
    const onnx::Model model = import(maker);
    const ValueId weights = model.graph.find("w");
    ASSERT_TRUE(weights.valid());
    EXPECT_EQ(model.graph.value(weights).role, Role::parameter);
    EXPECT_TRUE(model.graph.value(weights).decayed);
    const ::onnx::ModelProto written = exported(maker, 2);
    EXPECT_EQ(written.graph().initializer_size(), 0);
    float first = 0;
    std::memcpy(&first, written.graph().node(1).attribute(0).t().raw_data().data(), sizeof first);
    EXPECT_EQ(first, 2);
    const Folder folder;
    EXPECT_EQ(onnx::import(folder.put("again.onnx", written.SerializeAsString())).structure, model.structure);
}

TEST(onnx_field, a_leading_transpose_means_channels_last) {
    ModelMaker maker;
    maker.input("pixels", {-1, 8, 6, 3});
    maker.weights("w", {4, 3, 3, 3});
    ModelMaker::set(maker.node("Transpose", {"pixels"}, {"maps"}), "perm", std::vector<int64_t>{0, 3, 1, 2});
    maker.node("Conv", {"maps", "w"}, {"scores"});
    maker.output("scores");
    const onnx::Model model = import(maker, {.batch = 2, .image = std::array<int64_t, 3>{3, 8, 6}});
    EXPECT_EQ(model.graph.type(model.graph.find("images")).shape, (Shape{2, 3, 8, 6}));
    ASSERT_EQ(model.graph.nodes().size(), 1U);
    EXPECT_TRUE(model.graph.nodes()[0].operation.is<Conv2d>());
}

TEST(onnx_field, an_initialiser_in_two_forms_runs_and_is_not_trained) {
    ModelMaker maker = linear_network();
    maker.weights("w", {4, 4});
    ModelMaker::set(maker.node("Gemm", {"rows", "w"}, {"once"}), "transB", int64_t{1});
    maker.node("Gemm", {"once", "w"}, {"scores"});
    const onnx::Model model = import(maker);
    ASSERT_EQ(model.not_trainable.size(), 1U);
    EXPECT_NE(model.not_trainable[0].find("'w' is used in two different forms"), std::string::npos);
    EXPECT_EQ(exported(maker, 1).SerializeAsString(), maker.text());
    const Folder folder;
    int calls = 0;
    const onnx::TensorSource differing = [&](const Value& value) {
        Tensor tensor = initial_value(value, 0);
        tensor.f32()[0] += static_cast<float>(++calls);
        return tensor;
    };
    EXPECT_THROW(onnx::save(folder / "out.onnx", onnx::import(folder.put("m.onnx", maker.text())), differing),
                 Error);
    EXPECT_FALSE(std::filesystem::exists(folder / "out.onnx"));
}

/// Weights of 3 x 4 in float16, behind a Cast.
ModelMaker half_network() {
    ModelMaker maker = linear_network();
    std::vector<uint16_t> halves;
    for (int i = 0; i < 12; ++i) halves.push_back(to_half(0.1F * static_cast<float>(i + 1)).bits);
    maker.raw("w", {3, 4}, ::onnx::TensorProto_DataType_FLOAT16, halves);
    ModelMaker::set(maker.node("Cast", {"w"}, {"wide"}), "to", int64_t{1});
    ModelMaker::set(maker.node("Gemm", {"rows", "wide"}, {"scores"}), "transB", int64_t{1});
    return maker;
}

TEST(onnx_field, halves_behind_a_cast_are_read_wide_and_written_back_narrow) {
    const ModelMaker maker = half_network();
    const onnx::Model model = import(maker);
    const Tensor weights = initial_value(model.graph.value(model.graph.find("w")), 0);
    EXPECT_EQ(weights.f32()[2], to_float(to_half(0.3F)));
    EXPECT_EQ(exported(maker, 1).SerializeAsString(), maker.text());
    const ::onnx::ModelProto tripled = exported(maker, 3);
    const ::onnx::TensorProto& written = tripled.graph().initializer(0);
    EXPECT_EQ(written.data_type(), ::onnx::TensorProto_DataType_FLOAT16);
    Half half;
    std::memcpy(&half.bits, written.raw_data().data() + 2 * sizeof half.bits, sizeof half.bits);
    EXPECT_EQ(half, to_half(3 * weights.f32()[2]));
    try {
        (void)exported(maker, 1e6F);
        FAIL() << "what exceeds float16 was written";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("the largest float16"), std::string::npos) << error.what();
    }
}

TEST(onnx_field, a_result_that_is_named_and_not_read_is_left_out) {
    ModelMaker maker = small_network();
    ::onnx::NodeProto& relu = node_of(maker, "Relu");
    relu.set_op_type("Dropout");
    relu.add_output("mask");
    const onnx::Model model = import(maker);
    ASSERT_EQ(model.notes.size(), 1U);
    EXPECT_NE(model.notes[0].find("1 further result"), std::string::npos) << model.notes[0];
    ModelMaker read = maker;
    read.node("Cast", {"mask"}, {"number"});
    ModelMaker::set(*read.graph().mutable_node(read.graph().node_size() - 1), "to", int64_t{1});
    read.node("ReduceSum", {"number"}, {"sum"});
    read.node("Add", {"scores", "sum"}, {"total"});
    read.graph().mutable_output(0)->set_name("total");
    EXPECT_REFUSED(read, "'mask'");
}

TEST(onnx_field, what_the_output_does_not_need_is_counted) {
    ModelMaker maker = small_network();
    maker.weights("unused", {3});
    maker.node("Relu", {"scores"}, {"dead"});
    maker.node("Relu", {"dead"}, {"deader"});
    const onnx::Model model = import(maker);
    ASSERT_EQ(model.notes.size(), 1U);
    EXPECT_NE(model.notes[0].find("2 nodes, 1 initialiser"), std::string::npos) << model.notes[0];
}

TEST(onnx_field, empty_operands_of_concat_are_skipped) {
    ModelMaker maker = small_network();
    maker.raw<float>("nothing", {1, 0, 8, 8}, 1, {});
    ::onnx::NodeProto& relu = node_of(maker, "Relu");
    relu.set_op_type("Concat");
    relu.add_input("nothing");
    ModelMaker::set(relu, "axis", int64_t{1});
    const Graph graph = import(maker, {.batch = 1}).graph;
    EXPECT_EQ(graph.type(graph.outputs[0]).shape, (Shape{1, 4}));
}

TEST(onnx_field, old_operator_sets_give_by_attributes_what_newer_ones_give_by_inputs) {
    ModelMaker maker(8);
    maker.input("pixels", {-1, 2, 4, 4});
    ::onnx::NodeProto& pad = maker.node("Pad", {"pixels"}, {"a"});
    ModelMaker::set(pad, "pads", std::vector<int64_t>{0, 0, 1, 0, 0, 0, 1, 0});
    ::onnx::NodeProto& slice = maker.node("Slice", {"a"}, {"b"});
    ModelMaker::set(slice, "starts", std::vector<int64_t>{1});
    ModelMaker::set(slice, "ends", std::vector<int64_t>{5});
    ModelMaker::set(slice, "axes", std::vector<int64_t>{2});
    ::onnx::NodeProto& split = maker.node("Split", {"b"}, {"c", "d"});
    ModelMaker::set(split, "axis", int64_t{2});
    ModelMaker::set(split, "split", std::vector<int64_t>{1, 3});
    maker.node("Softmax", {"d"}, {"e"});  // over all but the first axis
    maker.output("e");
    const onnx::Model model = import(maker);
    EXPECT_EQ(model.graph.type(model.graph.outputs[0]).shape, (Shape{2, 2, 3, 4}));
    const bool flat =
        std::any_of(model.graph.values().begin(), model.graph.values().end(), [](const Value& value) {
            return value.type.shape == Shape{2, 24};
        });
    EXPECT_TRUE(flat);
}

TEST(onnx_field, a_log_softmax_at_the_end_leaves_logits) {
    ModelMaker maker = small_network();
    maker.node("LogSoftmax", {"scores"}, {"logs"});
    maker.graph().mutable_output(0)->set_name("logs");
    const onnx::Model model = import(maker);
    EXPECT_EQ(model.graph.nodes().size(), import(small_network()).graph.nodes().size());
    ASSERT_EQ(model.notes.size(), 1U);
    EXPECT_NE(model.notes[0].find("log-softmax"), std::string::npos);
}

}  // namespace
}  // namespace enmesh
