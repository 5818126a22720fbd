#include <gtest/gtest.h>

#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/onnx/import.hpp"
#include "onnx/model_maker.hpp"
#include "onnx/refusal.hpp"

// What no importer may trust. Every fault is one line that names the file and what is wrong with it.

namespace enmesh {
namespace {

using testing::Folder;
using testing::ModelMaker;
using testing::refusal;
using testing::small_network;

::onnx::TensorProto& initializer(ModelMaker& maker, const std::string& name) {
    for (::onnx::TensorProto& tensor : *maker.graph().mutable_initializer()) {
        if (tensor.name() == name) return tensor;
    }
    throw std::runtime_error("no initialiser " + name);
}
::onnx::NodeProto& node(ModelMaker& maker, const std::string& type) {
    for (::onnx::NodeProto& candidate : *maker.graph().mutable_node()) {
        if (candidate.op_type() == type) return candidate;
    }
    throw std::runtime_error("no node " + type);
}

TEST(hostile, the_network_itself_is_fine) {
    const Folder folder;
    EXPECT_NO_THROW(onnx::import(folder.put("m.onnx", small_network().text())));
}

TEST(hostile, no_file_empty_file_other_file) {
    EXPECT_THROW(onnx::import("/nowhere/m.onnx"), Error);
    EXPECT_NE(refusal("").find("not an ONNX"), std::string::npos);
    EXPECT_NE(refusal("hello, world").find("ONNX"), std::string::npos);
    EXPECT_NE(refusal(std::string(1000, '\0')).find("ONNX"), std::string::npos);
}

TEST(hostile, every_truncation_is_refused) {
    const std::string whole = small_network().text();
    for (size_t size = 0; size < whole.size(); size += 7)
        EXPECT_NE(refusal(whole.substr(0, size)), "") << "of " << size << " bytes";
}

TEST(hostile, flipped_bits_are_refused_or_read) {
    const std::string whole = small_network().text();
    const Folder folder;
    for (size_t i = 0; i < whole.size(); i += 5) {
        std::string changed = whole;
        changed[i] = static_cast<char>(changed[i] ^ (1 << (i / 5 % 8)));
        try {
            (void)onnx::import(folder.put("m.onnx", changed));
        } catch (const Error& error) {
            EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        }
    }
}

TEST(hostile, operator_sets) {
    EXPECT_REFUSED(small_network(7), "operator set 7");
    EXPECT_REFUSED(small_network(1000), "operator set 1000");
    ModelMaker none = small_network();
    none.model.clear_opset_import();
    EXPECT_REFUSED(none, "operator set");
}

TEST(hostile, unsupported_operators_all_at_once) {
    ModelMaker maker = small_network();
    node(maker, "Relu").set_op_type("LSTM");
    node(maker, "Flatten").set_op_type("GridSample");
    node(maker, "Gemm").set_domain("com.example");
    const std::string message = refusal(maker.text());
    for (const char* words :
         {"LSTM (1 at '/c/Relu')", "GridSample (1 at '/e/Flatten')", "com.example.Gemm (1 at "})
        EXPECT_NE(message.find(words), std::string::npos) << message;
}

TEST(hostile, cycles_and_order) {
    ModelMaker maker = small_network();
    node(maker, "Relu").set_input(0, "e");
    EXPECT_REFUSED(maker, "cycle");
    ModelMaker self = small_network();
    node(self, "Relu").set_input(0, "c");
    EXPECT_REFUSED(self, "cycle");
}

TEST(hostile, missing_and_doubled_names) {
    ModelMaker missing = small_network();
    node(missing, "Conv").set_input(1, "nothing");
    EXPECT_REFUSED(missing, "'nothing'");
    ModelMaker absent = small_network();
    node(absent, "Conv").mutable_input()->RemoveLast();
    EXPECT_REFUSED(absent, "weights are missing");
    ModelMaker twice = small_network();
    node(twice, "Relu").set_output(0, "b");
    node(twice, "GlobalAveragePool").set_input(0, "b");
    EXPECT_REFUSED(twice, "two values are called 'b'");
    ModelMaker weights = small_network();
    weights.weights("fc.bias", {4});
    EXPECT_REFUSED(weights, "two initialisers are called 'fc.bias'");
    ModelMaker output = small_network();
    output.graph().mutable_output(0)->set_name("other");
    EXPECT_REFUSED(output, "'other'");
    ModelMaker independent = small_network();
    independent.graph().mutable_output(0)->set_name("fc.bias");
    EXPECT_REFUSED(independent, "does not depend on its input");
}

TEST(hostile, names_cannot_break_the_line) {
    ModelMaker maker = small_network();
    node(maker, "Conv").set_input(1, "a\nb\033[31m");
    EXPECT_REFUSED(maker, "'a?b?[31m'");
}

TEST(hostile, inputs_and_outputs) {
    ModelMaker two = small_network();
    two.input("more", {1});
    EXPECT_REFUSED(two, "2 inputs");
    ModelMaker outputs = small_network();
    outputs.output("e");
    EXPECT_REFUSED(outputs, "2 outputs");
    ModelMaker rank = small_network();
    rank.graph()
        .mutable_input(0)
        ->mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim()
        ->RemoveLast();
    EXPECT_REFUSED(rank, "3 axes");
    ModelMaker type = small_network();
    type.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(10);
    EXPECT_REFUSED(type, "float16, float32 expected");
}

TEST(hostile, open_and_huge_extents) {
    const auto dims = [](const std::vector<int64_t>& extents) {
        ModelMaker maker = small_network();
        ModelMaker::describe(*maker.graph().mutable_input(0), "pixels", {}, 1);
        auto& shape = *maker.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
        shape.clear_dim();
        for (const int64_t extent : extents) {
            if (extent == -1) {
                shape.add_dim()->set_dim_param("height");
            } else {
                shape.add_dim()->set_dim_value(extent);
            }
        }
        return maker;
    };
    EXPECT_REFUSED(dims({-1, 3, -1, 8}), "leaves axis 2");
    EXPECT_EQ(refusal(dims({-1, 3, -1, 8}).text(), {.image = {{3, 8, 8}}}), "");
    EXPECT_NE(refusal(dims({-1, 3, 8, 8}).text(), {.image = {{3, 9, 8}}}).find("takes 8 along axis 2"),
              std::string::npos);
    EXPECT_REFUSED(dims({0, 3, 8, 8}), "extent of 0");
    EXPECT_REFUSED(dims({-1, 3, -5, 8}), "extent of -5");
    EXPECT_REFUSED(dims({-1, 3, std::numeric_limits<int64_t>::max(), 8}), "extent of");
    EXPECT_REFUSED(dims({1 << 20, 3, 1 << 20, 1 << 20}), "too large");
    EXPECT_REFUSED(dims({-1, 5, 8, 8}), "src has 5 channels");
}

TEST(hostile, tensors_whose_bytes_disagree) {
    const auto with_dims = [](const std::vector<int64_t>& dims) {
        ModelMaker maker = small_network();
        ::onnx::TensorProto& tensor = initializer(maker, "conv.weight");
        tensor.clear_dims();
        for (const int64_t dim : dims) tensor.add_dims(dim);
        return maker;
    };
    EXPECT_REFUSED(with_dims({4, 3, 3, 4}), "432 bytes, its shape takes 576");
    EXPECT_REFUSED(with_dims({-4, 3, 3, 3}), "negative");
    EXPECT_REFUSED(with_dims({int64_t{1} << 62, 1 << 30, 1 << 30, 3}), "too large");
    EXPECT_REFUSED(with_dims({int64_t{1} << 39, 1, 1, 1}), "its shape takes");
    EXPECT_REFUSED(with_dims(std::vector<int64_t>(64, 1)), "64 axes");
    ModelMaker fields = small_network();
    initializer(fields, "fc.bias").clear_raw_data();
    initializer(fields, "fc.bias").add_float_data(1);
    EXPECT_REFUSED(fields, "1 elements, its shape takes 4");
    ModelMaker twice = small_network();
    initializer(twice, "fc.bias").add_float_data(1);
    EXPECT_REFUSED(twice, "'fc.bias' has its elements twice");
    ModelMaker type = small_network();
    initializer(type, "fc.bias").set_data_type(8);
    EXPECT_REFUSED(type, "type 8");
}

TEST(hostile, weights_of_other_types_and_values) {
    const auto replaced = [](int type, auto value) {
        ModelMaker maker = small_network();
        initializer(maker, "fc.bias").set_data_type(type);
        const std::vector<decltype(value)> values(4, value);
        initializer(maker, "fc.bias").set_raw_data(values.data(), 4 * sizeof value);
        return maker;
    };
    EXPECT_REFUSED(replaced(11, 1.0), "'fc.bias' holds float64");
    EXPECT_REFUSED(replaced(7, int64_t{1}), "'fc.bias' is int64");
    EXPECT_REFUSED(replaced(10, uint16_t{0x3c00}), "'fc.bias' holds float16");
    EXPECT_REFUSED(replaced(1, std::numeric_limits<float>::quiet_NaN()), "'fc.bias' is not finite");
    EXPECT_REFUSED(replaced(1, -std::numeric_limits<float>::infinity()), "'fc.bias' is not finite");
}

TEST(hostile, a_negative_variance) {
    ModelMaker maker = small_network();
    const std::vector<float> values{1, 0, -0.5F, 1};
    initializer(maker, "norm.running_var").set_raw_data(values.data(), 4 * sizeof(float));
    EXPECT_REFUSED(maker, node(maker, "BatchNormalization").name());
    EXPECT_REFUSED(maker, "variance 'norm.running_var' is negative: element 2 is -0.5");
}

TEST(hostile, attributes_out_of_range) {
    ModelMaker axis = small_network();
    ModelMaker::set(node(axis, "Flatten"), "axis", int64_t{-9});
    EXPECT_REFUSED(axis, "axis -9 is out of range for rank 4");
    ModelMaker pads = small_network();
    node(pads, "Conv").clear_attribute();
    ModelMaker::set(node(pads, "Conv"), "pads",
                    std::vector<int64_t>{std::numeric_limits<int64_t>::max(), 0, 0, 0});
    EXPECT_REFUSED(pads, "out of range");
    for (const char* name : {"strides", "dilations"}) {
        ModelMaker maker = small_network();
        ModelMaker::set(node(maker, "Conv"), name, std::vector<int64_t>{0, -1});
        EXPECT_REFUSED(maker, "out of range");
    }
    ModelMaker group = small_network();
    ModelMaker::set(node(group, "Conv"), "group", int64_t{0});
    EXPECT_REFUSED(group, "groups");
    ModelMaker kind = small_network();
    ModelMaker::set(node(kind, "Conv"), "group", std::vector<int64_t>{1});
    EXPECT_REFUSED(kind, "another type");
}

/// pixels -> `type`(pixels, list) -> pool -> scores.
ModelMaker shaped(const std::string& type, const std::vector<int64_t>& list) {
    ModelMaker maker;
    maker.input("pixels", {-1, 3, 8, 8});
    maker.integers("list", list);
    maker.node(type, {"pixels", "list"}, {"scores"});
    maker.output("scores");
    return maker;
}

TEST(hostile, shapes_that_grow) {
    constexpr int64_t huge = std::numeric_limits<int64_t>::max();
    EXPECT_REFUSED(shaped("Expand", {huge, huge, 8, 8}), "too large");
    EXPECT_REFUSED(shaped("Reshape", {huge, huge, -1}), "too large");
    EXPECT_REFUSED(shaped("Reshape", {0, 0, 0, 0, 0}), "copies axis 4");
    EXPECT_REFUSED(shaped("Reshape", {7, -1}), "cannot become");
    EXPECT_REFUSED(shaped("Reshape", {-1, -1}), "negative");
    EXPECT_REFUSED(shaped("Tile", {1, huge, 1, 1}), "extent 1 only");
    EXPECT_REFUSED(shaped("Pad", {0, 0, huge, 0, 0, 0, 0, 0}), "out of range");
    EXPECT_REFUSED(shaped("Gather", {0, 99}), "index 99 is out of range");
    EXPECT_REFUSED(shaped("Unsqueeze", {-9}), "axis -9 is out of range");
    EXPECT_REFUSED(shaped("Squeeze", {1}), "is not 1");
}

TEST(hostile, shape_arithmetic_that_explodes) {
    ModelMaker maker = small_network();
    maker.integers("huge", {1 << 20, 1 << 20});
    maker.node("ConstantOfShape", {"huge"}, {"zeros"});
    maker.node("Add", {"scores", "zeros"}, {"sum"});
    maker.graph().mutable_output(0)->set_name("sum");
    EXPECT_REFUSED(maker, "larger than shape arithmetic should be");
    ModelMaker range = small_network();
    range.raw<int64_t>("start", {}, 7, {0});
    range.raw<int64_t>("end", {}, 7, {std::numeric_limits<int64_t>::max()});
    range.raw<int64_t>("one", {}, 7, {1});
    range.node("Range", {"start", "end", "one"}, {"r"});
    range.node("Add", {"scores", "r"}, {"sum"});
    range.graph().mutable_output(0)->set_name("sum");
    EXPECT_REFUSED(range, "endless range");
    ModelMaker zero = small_network();
    zero.integers("nought", {0});
    zero.node("Div", {"nought", "nought"}, {"r"});
    zero.node("Add", {"scores", "r"}, {"sum"});
    zero.graph().mutable_output(0)->set_name("sum");
    EXPECT_REFUSED(zero, "division by zero");
}

TEST(hostile, weights_that_are_computed) {
    ModelMaker maker = small_network();
    maker.raw<float>("two", {1}, 1, {2.0F});
    // In front of the convolution, which then reads what it makes.
    *maker.graph().add_node() = maker.graph().node(5);
    for (int i = 5; i > 0; --i) *maker.graph().mutable_node(i) = maker.graph().node(i - 1);
    ::onnx::NodeProto& product = *maker.graph().mutable_node(0);
    product.Clear();
    product.set_op_type("Mul");
    product.set_name("scale");
    product.add_input("conv.weight");
    product.add_input("two");
    product.add_output("scaled");
    maker.graph().mutable_node(1)->set_input(1, "scaled");
    EXPECT_REFUSED(maker, "its weights ('scaled') are computed from trained weights, which is not supported");
    ModelMaker of_images = small_network();
    of_images.node("Conv", {"c", "c"}, {"more"});
    of_images.graph().mutable_output(0)->set_name("more");
    EXPECT_REFUSED(of_images, "its weights ('c') depend on the images");
}

TEST(hostile, external_data) {
    const auto external = [](const std::string& location, const std::string& offset,
                             const std::string& length) {
        ModelMaker maker = small_network();
        ::onnx::TensorProto& tensor = initializer(maker, "conv.weight");
        tensor.clear_raw_data();
        tensor.set_data_location(::onnx::TensorProto_DataLocation_EXTERNAL);
        const auto add = [&](const char* key, const std::string& value) {
            auto* const entry = tensor.add_external_data();
            entry->set_key(key);
            entry->set_value(value);
        };
        add("location", location);
        if (!offset.empty()) add("offset", offset);
        if (!length.empty()) add("length", length);
        return maker.text();
    };
    const Folder folder;
    const auto said = [&](const std::string& text) -> std::string {
        try {
            (void)onnx::import(folder.put("m.onnx", text));
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    folder.put("w.bin", std::string(500, '\0'));
    EXPECT_EQ(said(external("w.bin", "", "")), "");
    EXPECT_EQ(said(external("w.bin", "68", "432")), "");
    EXPECT_NE(said(external("w.bin", "69", "432")).find("which has 500"), std::string::npos);
    EXPECT_NE(said(external("w.bin", "0", "431")).find("its shape takes 432"), std::string::npos);
    EXPECT_NE(said(external("w.bin", "99999999999999999999999", "432")).find("offset"), std::string::npos);
    EXPECT_NE(said(external("w.bin", "-1", "432")).find("offset"), std::string::npos);
    EXPECT_NE(said(external("x.bin", "", "")).find("not beside the model"), std::string::npos);
    for (const char* path : {"../w.bin", "/etc/passwd", "a/../../w.bin", ""})
        EXPECT_NE(said(external(path, "", "")).find("outside the model's folder"), std::string::npos) << path;
    std::filesystem::create_symlink("/etc/hostname", folder / "link.bin");
    EXPECT_NE(said(external("link.bin", "", "")).find("outside the model's folder"), std::string::npos);

    // A cache: the model and its data are links into a folder of blobs. Only where the model leads there too.
    namespace fs = std::filesystem;
    fs::create_directories(folder / "cache/blobs");
    fs::create_directories(folder / "cache/snapshot");
    folder.put("cache/blobs/a", external("m.data", "", ""));
    folder.put("cache/blobs/b", std::string(432, '\0'));
    fs::create_symlink("../blobs/a", folder / "cache/snapshot/m.onnx");
    fs::create_symlink("../blobs/b", folder / "cache/snapshot/m.data");
    EXPECT_NO_THROW((void)onnx::import(folder / "cache/snapshot/m.onnx"));
    fs::remove(folder / "cache/snapshot/m.onnx");
    fs::copy_file(folder / "cache/blobs/a", folder / "cache/snapshot/m.onnx");
    EXPECT_THROW((void)onnx::import(folder / "cache/snapshot/m.onnx"), Error);
}

}  // namespace
}  // namespace enmesh
