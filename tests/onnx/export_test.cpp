#include "enmesh/onnx/export.hpp"

#include <gtest/gtest.h>

#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/reference/executor.hpp"
#include "onnx/model_maker.hpp"

namespace enmesh {
namespace {

using testing::Folder;
using testing::ModelMaker;
using testing::small_network;

Tensor forward(const Graph& graph) {
    const auto executor = make_reference_executor(build_inference_step(graph, {}));
    initialize(*executor, 3);
    Tensor images(graph.type(graph.find("images")).shape);
    float value = 0;
    for (float& pixel : images.f32()) pixel = (value = value > 1 ? value - 1.9F : value + 0.37F);
    executor->write(executor->step().images, images);
    executor->gradients({});
    return executor->read(executor->step().logits);
}

/// Every initial value scaled: another network of the same structure.
onnx::TensorSource scaled(float factor) {
    return [factor](const Value& value) {
        Tensor tensor = initial_value(value, 0);
        for (float& element : tensor.f32()) element *= factor;
        return tensor;
    };
}

::onnx::ModelProto parsed(const std::filesystem::path& path) {
    ::onnx::ModelProto model;
    if (!model.ParseFromString(read_file(path))) throw std::runtime_error("cannot be parsed");
    return model;
}

TEST(onnx_export, unchanged_weights_give_the_same_bytes) {
    const Folder folder;
    const std::string text = small_network().text();
    const onnx::Model model = onnx::import(folder.put("m.onnx", text));
    onnx::save(folder / "out.onnx", model, onnx::initial_values());
    EXPECT_EQ(read_file(folder / "out.onnx"), text);
}

TEST(onnx_export, changed_weights_come_back_with_names_open_batch_and_unknown_fields) {
    const Folder folder;
    ModelMaker maker = small_network();
    // Field 9999 of the model and of a node: something that a newer ONNX may have.
    const std::string unknown("\xfa\xf0\x04\x05hello", 9);
    maker.graph().mutable_node(0)->mutable_unknown_fields()->append(unknown);
    std::string text = maker.text() + unknown;
    const onnx::Model model = onnx::import(folder.put("m.onnx", text));
    onnx::save(folder / "out.onnx", model, scaled(2));
    const std::string written = read_file(folder / "out.onnx");
    EXPECT_NE(written.find("hello"), written.rfind("hello"));
    const onnx::Model again = onnx::import(folder / "out.onnx");
    EXPECT_EQ(again.input, "pixels");
    EXPECT_TRUE(again.dynamic_batch);
    EXPECT_EQ(again.structure, model.structure);
    for (const char* name : {"conv.weight", "fc.weight", "norm.running_mean"}) {
        const Tensor before = initial_value(model.graph.value(model.graph.find(name)), 0);
        const Tensor after = initial_value(again.graph.value(again.graph.find(name)), 0);
        for (size_t i = 0; i < before.f32().size(); ++i)
            ASSERT_EQ(after.f32()[i], 2 * before.f32()[i]) << name;
    }
}

/// A network with 8 KiB of weights, which go to external data.
ModelMaker large_network() {
    ModelMaker maker = small_network();
    maker.weights("big.weight", {512, 4});
    maker.node("Gemm", {"e", "big.weight"}, {"more"});
    ModelMaker::set(*maker.graph().mutable_node(6), "transB", int64_t{1});
    maker.graph().mutable_output(0)->set_name("more");
    return maker;
}

TEST(onnx_export, external_data_there_and_back) {
    const Folder folder;
    const onnx::Model model = onnx::import(folder.put("m.onnx", large_network().text()));
    onnx::save(folder / "out.onnx", model, scaled(3), {.external_data = true});
    EXPECT_EQ(std::filesystem::file_size(folder / "out.onnx.data"), 512U * 4 * 4);
    const onnx::Model again = onnx::import(folder / "out.onnx");
    onnx::save(folder / "again.onnx", again, onnx::initial_values());
    EXPECT_TRUE(std::filesystem::exists(folder / "again.onnx.data"));
    const Comparison same =
        compare(forward(again.graph).f32(), forward(onnx::import(folder / "again.onnx").graph).f32(), 0);
    EXPECT_TRUE(same.ok()) << same.describe();
}

std::string refusal_to_save(const std::filesystem::path& path, const onnx::Model& model) {
    try {
        onnx::save(path, model, onnx::initial_values());
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(onnx_export, external_data_of_the_imported_model_are_not_overwritten) {
    const Folder folder;
    onnx::save(folder / "freed.onnx", onnx::import(folder.put("m.onnx", large_network().text())),
               onnx::initial_values(), {.external_data = true});
    std::filesystem::rename(folder / "freed.onnx", folder / "dense.onnx");
    const std::filesystem::path data = folder / "freed.onnx.data";
    const std::string bytes = read_file(data);
    EXPECT_EQ(onnx::external_files(folder / "dense.onnx"),
              std::vector<std::filesystem::path>{std::filesystem::canonical(data)});
    EXPECT_TRUE(onnx::external_files(folder / "m.onnx").empty());
    EXPECT_TRUE(onnx::external_files(folder / "absent.onnx").empty());
    EXPECT_TRUE(onnx::external_files(data).empty());
    const onnx::Model model = onnx::import(folder / "dense.onnx");
    const std::string words = "would overwrite the external data of";
    EXPECT_NE(refusal_to_save(folder / "freed.onnx", model).find(words), std::string::npos);
    EXPECT_NE(refusal_to_save(data, model).find(words), std::string::npos);
    EXPECT_EQ(read_file(data), bytes);
    EXPECT_EQ(refusal_to_save(folder / "other.onnx", model), "");
}

TEST(onnx_export, neither_file_appears_without_the_other) {
    const Folder folder;
    const onnx::Model model = onnx::import(folder.put("m.onnx", large_network().text()));
    std::filesystem::create_directory(folder / "taken.onnx");
    std::filesystem::create_directory(folder / "half.onnx.data");
    for (const char* name : {"taken.onnx", "half.onnx"})
        EXPECT_THROW(onnx::save(folder / name, model, scaled(2), {.external_data = true}), Error) << name;
    EXPECT_FALSE(std::filesystem::exists(folder / "taken.onnx.data"));
    EXPECT_FALSE(std::filesystem::exists(folder / "half.onnx"));
}

TEST(onnx_export, statistics_that_were_shared_are_written_apart) {
    const Folder folder;
    ModelMaker maker;
    maker.input("x", {-1, 4, 8, 8});
    for (const char* name : {"g", "b", "m", "v"}) maker.weights(name, {4});
    maker.node("BatchNormalization", {"x", "g", "b", "m", "v"}, {"y"});
    maker.node("BatchNormalization", {"y", "g", "b", "m", "v"}, {"z"});
    maker.output("z");
    const onnx::Model model = onnx::import(folder.put("m.onnx", maker.text()));
    onnx::save(folder / "out.onnx", model, [](const Value& value) {
        Tensor tensor = initial_value(value, 0);
        if (value.name == "m#2") tensor.f32()[0] = 42;
        return tensor;
    });
    const ::onnx::ModelProto written = parsed(folder / "out.onnx");
    EXPECT_EQ(written.graph().node(0).input(3), "m");
    EXPECT_EQ(written.graph().node(1).input(3), "m#2");
    EXPECT_EQ(initial_value(model.graph.value(model.graph.find("m")), 0).f32()[0], 0.01F);
    EXPECT_EQ(onnx::import(folder / "out.onnx").weights.size(), 6U);
}

TEST(onnx_export, weights_that_are_not_finite_are_not_written) {
    const Folder folder;
    const onnx::Model model = onnx::import(folder.put("m.onnx", small_network().text()));
    EXPECT_THROW(onnx::save(folder / "out.onnx", model, scaled(std::numeric_limits<float>::infinity())),
                 Error);
    EXPECT_FALSE(std::filesystem::exists(folder / "out.onnx"));
}

class Zoo : public ::testing::TestWithParam<const char*> {};

TEST_P(Zoo, goes_out_and_comes_back_with_the_same_function) {
    const Folder folder;
    const Graph graph =
        build_model(GetParam(), {.classes = 10, .image = {3, 32, 32}, .width = 0.0625, .batch = 2});
    const onnx::TensorSource weights = [](const Value& value) { return initial_value(value, 3); };
    onnx::save(folder / "out.onnx", graph, weights);
    const onnx::Model model = onnx::import(folder / "out.onnx");
    EXPECT_TRUE(model.dynamic_batch);
    EXPECT_EQ(model.input, "images");
    EXPECT_EQ(model.output, "logits");
    for (const Value& value : graph.values()) {
        if (value.role != Role::parameter && value.role != Role::state) continue;
        EXPECT_TRUE(model.graph.find(value.name).valid()) << value.name;
    }
    const Comparison result = compare(forward(model.graph).f32(), forward(graph).f32(), 1e-5);
    EXPECT_TRUE(result.ok()) << result.describe();
    const onnx::Model larger = onnx::import(folder / "out.onnx", {.batch = 5});
    EXPECT_EQ(larger.graph.type(larger.graph.outputs[0]).shape, (Shape{5, 10}));
}

INSTANTIATE_TEST_SUITE_P(models, Zoo,
                         ::testing::Values("mlp", "lenet5", "digits_cnn", "resnet9", "resnet18", "resnet50",
                                           "vgg16", "vit_tiny"));

}  // namespace
}  // namespace enmesh
