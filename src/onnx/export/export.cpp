#include "enmesh/onnx/export.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "enmesh/base/error.hpp"
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
    std::map<std::string, int, std::less<>> initializers;
    for (int i = 0; i < out.graph().initializer_size(); ++i)
        initializers.emplace(out.graph().initializer(i).name(), i);
    for (const WeightLink& link : model.weights) {
        const Value& value = model.graph.value(model.graph.find(link.value));
        proto::TensorProto* target =
            out.mutable_graph()->mutable_initializer(initializers.at(link.initializer));
        const Shape shape(std::vector<int64_t>(target->dims().begin(), target->dims().end()));
        const Tensor tensor = undo(checked_weights(weights, value), link.steps, shape);
        std::string name = link.initializer;
        if (link.node >= 0) {
            // The file shares one initialiser among norms whose statistics differ by now.
            name = link.value;
            while (initializers.contains(name)) name += "'";
            target = out.mutable_graph()->add_initializer();
            initializers.emplace(name, out.graph().initializer_size() - 1);
            out.mutable_graph()->mutable_node(link.node)->set_input(link.input, name);
            out.set_ir_version(std::max<int64_t>(out.ir_version(), 4));
        }
        const bool same = target->raw_data().size() == tensor.bytes() &&
                          std::memcmp(target->raw_data().data(), tensor.data(), tensor.bytes()) == 0;
        if (!same || !target->has_raw_data()) write_tensor(*target, name, tensor);
    }
    write_model(path, std::move(out), options.external_data || !model.file->external.empty());
}

}  // namespace enmesh::onnx
