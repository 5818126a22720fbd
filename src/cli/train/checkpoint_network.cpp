#include "cli/train/checkpoint_network.hpp"

#include <CLI/CLI.hpp>
#include <map>

#include "enmesh/base/error.hpp"
#include "enmesh/reference/executor.hpp"

namespace enmesh::cli {

onnx::TensorSource CheckpointNetwork::weights() const {
    const TrainingStep& step = executor->step();
    std::map<std::string, ValueId> packed;
    const auto note = [&](ValueId result, ValueId readable) {
        const int producer = step.graph.value(result).producer;
        if (producer < 0 || !step.graph.node(producer).operation.is<PackNm>()) return;
        packed[step.graph.value(step.graph.node(producer).inputs[0]).name] = readable;
    };
    for (const auto& [result, state] : step.carried) note(result, state);
    for (const Node& node : step.graph.nodes()) {
        if (node.operation.is<PackNm>() && node.stage == Stage::FF) note(node.outputs[0], node.outputs[0]);
    }
    return [executor = executor.get(), packed](const Value& value) {
        const auto found = packed.find(value.name);
        const ValueId own = executor->step().graph.find(value.name);
        if (found == packed.end() && !own.valid()) return initial_value(value, 0);
        return executor->read(found == packed.end() ? own : found->second);
    };
}

CheckpointNetwork load_network(const std::filesystem::path& checkpoint, const std::string& model,
                               bool averages, Notes& notes) {
    CheckpointNetwork network{read_checkpoint_info(SafetensorsReader(checkpoint), checkpoint), {}, nullptr};
    const ModelDescription& described = network.info.model;
    ModelRequest request;
    if (onnx::is_onnx_path(model)) {
        request.model = model;
        const auto image = described.find("image");
        if (image != described.end()) request.image = image->second;
    } else {
        request = model_request(described, checkpoint);
    }
    constexpr int64_t batch = 2;
    request.batch = batch;
    request.keep_batch = true;
    network.model = requested_model(request, model_options(request), notes);
    check_description(described, network.model.description, checkpoint);
    Recipe recipe = network.info.recipe;
    recipe.pre_generate = true;  // so that packed weights are states, which can be read
    network.executor = make_reference_executor(build_inference_step(network.model.graph, recipe));
    initialize(*network.executor, 0);
    notes.add(load_weights(checkpoint, *network.executor, {.averages = averages}));
    return network;
}

std::vector<NamedFile> network_inputs(const std::string& option, const std::filesystem::path& input,
                                      const std::string& model) {
    return {{option, input}, {"--model", model}, {option, network_file(input), "ONNX network"}};
}

void require_no_network(const char* option, const std::filesystem::path& weights) {
    if (onnx::is_onnx_path(weights))
        refuse("{} {}: is an ONNX file; --model takes it, and its own weights with it", option,
               weights.string());
}

void add_network_file_options(CLI::App& command, std::string& model, std::string& image) {
    command
        .add_option("--model", model,
                    "The ONNX file that was trained, where it is not beside the checkpoint as model.onnx")
        ->type_name("FILE.onnx");
    command.add_option("--image", image, "Of an ONNX model that leaves its images' size open")
        ->type_name("CxHxW");
}

}  // namespace enmesh::cli
