#include "cli/files/pack_source.hpp"

#include <cstring>
#include <memory>

#include "cli/train/checkpoint_network.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/onnx/export.hpp"
#include "enmesh/sparsity/codec.hpp"

namespace enmesh::cli {
namespace {

NamedTensor named(const TensorHeader& header, const Tensor& tensor) {
    NamedTensor result{header, Buffer(header.bytes())};
    std::memcpy(result.data.data(), tensor.data(), header.bytes());
    return result;
}

/// Parameters and running statistics of a network.
PackSource network_source(const Graph& graph, const onnx::TensorSource& weights) {
    PackSource source;
    std::vector<Value> values;
    for (const Value& value : graph.values()) {
        if (value.role != Role::parameter && value.role != Role::state) continue;
        source.headers.push_back({value.name, safetensors_dtype(value.type.dtype), value.type.shape});
        values.push_back(value);
    }
    source.read = [headers = source.headers, values, weights](size_t index) {
        return named(headers[index], weights(values[index]));
    };
    return source;
}

PackSource onnx_source(const PackInput& input, Notes& notes) {
    if (!input.model.empty()) refuse("--model goes with a checkpoint, {} is a whole model", input.file);
    if (input.raw) refuse("--raw goes with a checkpoint, {} is an ONNX file", input.file);
    ModelRequest request;
    request.model = input.file;
    request.image = input.image;
    request.batch = 2;
    request.keep_batch = true;
    return network_source(requested_onnx(request, notes).graph, onnx::initial_values());
}

/// The weights that a checkpoint's network computes with: the state of its training is left out.
PackSource checkpoint_source(const PackInput& input, const SafetensorsReader& reader, Notes& notes) {
    if (!input.image.empty()) refuse("--image: {} knows its images", input.file);
    const auto network =
        std::make_shared<const CheckpointNetwork>(load_network(input.file, input.model, !input.raw, notes));
    const Graph& graph = network->model.graph;
    PackSource source = network_source(
        graph, [network, weights = network->weights()](const Value& value) { return weights(value); });
    source.metadata = first_metadata(network->info.model, network->info.recipe);
    for (const TensorHeader& header : reader.tensors()) {
        if (!graph.find(header.name).valid()) source.left_out.push_back(header.name);
    }
    return source;
}

}  // namespace

PackSource pack_source(const PackInput& input, Notes& notes) {
    if (onnx::is_onnx_path(input.file)) return onnx_source(input, notes);
    const SafetensorsReader reader(input.file);
    if (reader.metadata().contains(std::string(packed_metadata_key)))
        refuse("{}: is packed already", input.file);
    if (read_checkpoint_info(reader, input.file).is_checkpoint)
        return checkpoint_source(input, reader, notes);
    const auto needs_network = [&](bool given, const char* option) {
        if (given) refuse("{}: {} is neither an ONNX file nor a checkpoint of ours", option, input.file);
    };
    needs_network(!input.model.empty(), "--model");
    needs_network(!input.image.empty(), "--image");
    needs_network(input.raw, "--raw");
    PackSource source;
    source.network = false;
    source.headers.assign(reader.tensors().begin(), reader.tensors().end());
    source.read = [reader](size_t index) { return reader.read(index); };
    source.metadata = reader.metadata();
    return source;
}

}  // namespace enmesh::cli
