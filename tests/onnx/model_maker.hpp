#pragma once

#include <onnx.pb.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace enmesh::testing {

/// Builds small ONNX files in the test itself, right or wrong.
struct ModelMaker {
    ::onnx::ModelProto model;

    explicit ModelMaker(int64_t opset = 17) {
        model.set_ir_version(8);
        model.add_opset_import()->set_version(opset);
        graph().set_name("test");
    }
    ::onnx::GraphProto& graph() { return *model.mutable_graph(); }

    /// A dimension below zero stays open.
    ::onnx::ValueInfoProto& input(const std::string& name, const std::vector<int64_t>& dims, int type = 1) {
        return describe(*graph().add_input(), name, dims, type);
    }
    ::onnx::ValueInfoProto& output(const std::string& name) {
        return describe(*graph().add_output(), name, {}, 1);
    }

    ::onnx::NodeProto& node(const std::string& type, const std::vector<std::string>& inputs,
                            const std::vector<std::string>& outputs) {
        ::onnx::NodeProto& node = *graph().add_node();
        node.set_op_type(type);
        node.set_name("/" + outputs.at(0) + "/" + type);
        for (const std::string& name : inputs) node.add_input(name);
        for (const std::string& name : outputs) node.add_output(name);
        return node;
    }
    static void set(::onnx::NodeProto& node, const std::string& name, int64_t value) {
        ::onnx::AttributeProto& attribute = *node.add_attribute();
        attribute.set_name(name);
        attribute.set_type(::onnx::AttributeProto_AttributeType_INT);
        attribute.set_i(value);
    }
    static void set(::onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
        ::onnx::AttributeProto& attribute = *node.add_attribute();
        attribute.set_name(name);
        attribute.set_type(::onnx::AttributeProto_AttributeType_INTS);
        for (const int64_t value : values) attribute.add_ints(value);
    }

    template <typename T>
    ::onnx::TensorProto& raw(const std::string& name, const std::vector<int64_t>& dims, int type,
                             const std::vector<T>& values) {
        ::onnx::TensorProto& tensor = *graph().add_initializer();
        tensor.set_name(name);
        tensor.set_data_type(type);
        for (const int64_t dim : dims) tensor.add_dims(dim);
        tensor.set_raw_data(values.data(), values.size() * sizeof(T));
        return tensor;
    }
    /// float32 values 0.01, 0.02, …
    ::onnx::TensorProto& weights(const std::string& name, const std::vector<int64_t>& dims) {
        int64_t count = 1;
        for (const int64_t dim : dims) count *= dim;
        std::vector<float> values;
        for (int64_t i = 0; i < count; ++i) values.push_back(0.01F * static_cast<float>(i % 97 + 1));
        return raw(name, dims, 1, values);
    }
    ::onnx::TensorProto& integers(const std::string& name, const std::vector<int64_t>& values) {
        return raw(name, {static_cast<int64_t>(values.size())}, 7, values);
    }

    std::string text() const { return model.SerializeAsString(); }

    static ::onnx::ValueInfoProto& describe(::onnx::ValueInfoProto& info, const std::string& name,
                                            const std::vector<int64_t>& dims, int type) {
        info.set_name(name);
        ::onnx::TypeProto_Tensor& tensor = *info.mutable_type()->mutable_tensor_type();
        tensor.set_elem_type(type);
        tensor.mutable_shape();
        for (const int64_t dim : dims) {
            ::onnx::TensorShapeProto_Dimension& entry = *tensor.mutable_shape()->add_dim();
            if (dim >= 0) {
                entry.set_dim_value(dim);
            } else {
                entry.set_dim_param("open");
            }
        }
        return info;
    }
};

/// A folder that disappears with the test.
class Folder {
  public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "enmesh-onnx-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::filesystem::path put(const std::string& name, const std::string& text) const {
        std::ofstream(path_ / name, std::ios::binary) << text;
        return path_ / name;
    }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

/// images (open batch, 3 x 8 x 8) -> conv, norm, relu, pool, flatten, Gemm -> 4 scores.
inline ModelMaker small_network(int64_t opset = 17) {
    ModelMaker maker(opset);
    maker.input("pixels", {-1, 3, 8, 8});
    maker.weights("conv.weight", {4, 3, 3, 3});
    maker.weights("norm.weight", {4});
    maker.weights("norm.bias", {4});
    maker.weights("norm.running_mean", {4});
    maker.weights("norm.running_var", {4});
    maker.weights("fc.weight", {4, 4});
    maker.weights("fc.bias", {4});
    ModelMaker::set(maker.node("Conv", {"pixels", "conv.weight"}, {"a"}), "pads",
                    std::vector<int64_t>{1, 1, 1, 1});
    maker.node("BatchNormalization",
               {"a", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}, {"b"});
    maker.node("Relu", {"b"}, {"c"});
    maker.node("GlobalAveragePool", {"c"}, {"d"});
    maker.node("Flatten", {"d"}, {"e"});
    maker.node("Gemm", {"e", "fc.weight", "fc.bias"}, {"scores"});
    maker.output("scores");
    return maker;
}

}  // namespace enmesh::testing
