#include "enmesh/onnx/export.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "onnx/export/write_tensor.hpp"
#include "onnx/import/constant.hpp"
#include "onnx/model_file.hpp"

namespace enmesh::onnx {

void write_tensor(proto::TensorProto& to, const std::string& name, const Tensor& tensor) {
    to.set_name(name);
    to.set_data_type(tensor.dtype() == DType::f32 ? proto::TensorProto_DataType_FLOAT
                                                  : proto::TensorProto_DataType_INT64);
    to.clear_dims();
    for (const int64_t dim : tensor.shape()) to.add_dims(dim);
    to.clear_float_data();
    to.set_raw_data(tensor.data(), tensor.bytes());
}

namespace {

/// Whether the file's elements are these already.
bool holds(const proto::TensorProto& stored, const Tensor& tensor) {
    const Constant known = read_constant(stored);
    const std::span<const float> there = known.reals(), here = tensor.f32();
    return there.size() == here.size() && std::memcmp(there.data(), here.data(), here.size_bytes()) == 0;
}

template <typename Stored, typename Convert>
std::string converted(std::span<const float> values, const Convert& convert) {
    std::string bytes(values.size() * sizeof(Stored), '\0');
    for (size_t i = 0; i < values.size(); ++i) {
        const Stored stored = convert(values[i]);
        std::memcpy(bytes.data() + i * sizeof stored, &stored, sizeof stored);
    }
    return bytes;
}

/// In the float type that the file stores the tensor in.
void write_like(proto::TensorProto& to, const std::string& name, const Tensor& tensor) {
    const int32_t type = to.data_type();
    const std::span<const float> values = tensor.f32();
    constexpr float largest_half = 65504;
    if (type == proto::TensorProto_DataType_FLOAT16) {
        for (const float value : values) {
            if (std::isinf(to_float(to_half(value))))
                refuse("'{}': {} exceeds {}, the largest float16, which the file stores it in", name, value,
                       largest_half);
        }
    }
    write_tensor(to, name, tensor);
    if (type == proto::TensorProto_DataType_FLOAT) return;
    to.set_data_type(type);
    to.clear_int32_data();
    to.clear_double_data();
    if (type == proto::TensorProto_DataType_FLOAT16)
        to.set_raw_data(converted<uint16_t>(values, [](float value) { return to_half(value).bits; }));
    if (type == proto::TensorProto_DataType_BFLOAT16)
        to.set_raw_data(converted<uint16_t>(values, [](float value) { return to_bfloat16(value).bits; }));
    if (type == proto::TensorProto_DataType_DOUBLE)
        to.set_raw_data(converted<double>(values, [](float value) { return double{value}; }));
}

/// Where the file keeps weights, by their names: initialisers and Constant nodes.
std::map<std::string, proto::TensorProto*, std::less<>> tensors_of(proto::GraphProto& graph) {
    std::map<std::string, proto::TensorProto*, std::less<>> tensors;
    for (proto::NodeProto& node : *graph.mutable_node()) {
        if (node.op_type() == "Constant" && node.output_size() > 0 && node.attribute_size() > 0 &&
            node.attribute(0).has_t())
            tensors.emplace(node.output(0), node.mutable_attribute(0)->mutable_t());
    }
    for (proto::TensorProto& tensor : *graph.mutable_initializer()) tensors.emplace(tensor.name(), &tensor);
    return tensors;
}

}  // namespace

Tensor checked_weights(const TensorSource& weights, const Value& value) {
    Tensor tensor = weights(value);
    if (tensor.shape() != value.type.shape || tensor.dtype() != DType::f32) {
        refuse("'{}' is {} {}, f32 {} expected", value.name, to_string(tensor.dtype()),
               to_string(tensor.shape()), to_string(value.type.shape));
    }
    const std::span<const float> values = tensor.f32();
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }))
        fail("'{}' is not finite", value.name);
    return tensor;
}

TensorSource initial_values(uint64_t seed) {
    return [seed](const Value& value) { return initial_value(value, seed); };
}

void save(const std::filesystem::path& path, const Model& model, const TensorSource& weights,
          const ExportOptions& options) {
    require_apart(path, *model.file);
    proto::ModelProto out = model.file->model;
    auto tensors = tensors_of(*out.mutable_graph());
    std::map<std::string_view, Tensor> written;
    for (const WeightLink& link : model.weights) {
        const Value& value = model.graph.value(model.graph.find(link.value));
        proto::TensorProto* target = tensors.at(link.initializer);
        const Shape shape(std::vector<int64_t>(target->dims().begin(), target->dims().end()));
        Tensor tensor = undo(checked_weights(weights, value), link.steps, shape);
        std::string name = link.initializer;
        if (link.node >= 0) {
            // The file shares one initialiser among norms whose statistics differ by now.
            name = link.value;
            while (tensors.contains(name)) name += "'";
            target = out.mutable_graph()->add_initializer();
            target->set_data_type(proto::TensorProto_DataType_FLOAT);
            tensors.emplace(name, target);
            out.mutable_graph()->mutable_node(link.node)->set_input(link.input, name);
            out.set_ir_version(std::max<int64_t>(out.ir_version(), 4));
        }
        if (link.node >= 0) {
            write_tensor(*target, name, tensor);
            continue;
        }
        if (const auto first = written.find(link.initializer); first == written.end()) {
            if (!holds(*target, tensor)) write_like(*target, target->name(), tensor);
            written.emplace(link.initializer, std::move(tensor));
        } else if (std::memcmp(first->second.data(), tensor.data(), tensor.bytes()) != 0) {
            refuse("'{}' is used in two different forms, whose values differ now: the file has room for one",
                   link.initializer);
        }
    }
    write_model(path, std::move(out), options.external_data || !model.file->external.empty());
}

}  // namespace enmesh::onnx
