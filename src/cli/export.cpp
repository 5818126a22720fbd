#include "enmesh/onnx/export.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "cli/commands.hpp"
#include "cli/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/reference/executor.hpp"

namespace enmesh::cli {
namespace {

struct ExportArguments {
    std::filesystem::path source, out;
    std::string model;
    bool raw = false;
    onnx::ExportOptions options;
};

/// What the network computes with: weights as they are after packing, where a product takes them N:M.
onnx::TensorSource computed_weights(const Executor& executor) {
    const TrainingStep& step = executor.step();
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
    return [&executor, packed](const Value& value) {
        const auto found = packed.find(value.name);
        const ValueId own = executor.step().graph.find(value.name);
        if (found == packed.end() && !own.valid()) return initial_value(value, 0);
        return executor.read(found == packed.end() ? own : found->second);
    };
}

/// A network of ours or of an ONNX file with a checkpoint's weights.
void export_checkpoint(const ExportArguments& arguments) {
    const CheckpointInfo info = read_checkpoint_info(SafetensorsReader(arguments.source), arguments.source);
    ModelRequest request;
    const bool given_file = onnx::is_onnx_path(arguments.model);
    if (given_file) {
        request.model = arguments.model;
        const auto image = info.model.find("image");
        if (image != info.model.end()) request.image = image->second;
    } else {
        request = model_request(info.model, arguments.source);
    }
    constexpr int64_t batch = 2;
    request.batch = batch;
    const RequestedModel model = requested_model(request, model_options(request));
    check_description(info.model, model.description, arguments.source);
    Recipe recipe = info.recipe;
    recipe.pre_generate = true;  // so that packed weights are states, which can be read
    const auto executor = make_reference_executor(build_inference_step(model.graph, recipe));
    initialize(*executor, 0);
    load_weights(arguments.source, *executor, !arguments.raw);
    const onnx::TensorSource weights = computed_weights(*executor);
    if (model.onnx.has_value()) {
        onnx::save(arguments.out, *model.onnx, weights, arguments.options);
    } else {
        onnx::save(arguments.out, model.graph, weights, arguments.options);
    }
}

void run_export(const ExportArguments& arguments) {
    if (!onnx::is_onnx_path(arguments.out))
        refuse("--out {}: a name that ends in .onnx expected", arguments.out.string());
    if (onnx::is_onnx_path(arguments.source)) {
        if (!arguments.model.empty())
            refuse("--model goes with a checkpoint, {} is a whole model", arguments.source.string());
        const onnx::Model model = onnx::import(arguments.source);
        onnx::save(arguments.out, model, onnx::initial_values(), arguments.options);
    } else {
        export_checkpoint(arguments);
    }
    std::printf("%s: written\n", arguments.out.c_str());
}

}  // namespace

void add_export(CLI::App& app) {
    CLI::App* const command = app.add_subcommand("export", "Write a checkpoint or an ONNX model as ONNX");
    const auto arguments = std::make_shared<ExportArguments>();
    command->add_option("IN", arguments->source, "Checkpoint (safetensors) or ONNX model")->required();
    command->add_option("--out", arguments->out, "The ONNX file to write")
        ->type_name("FILE.onnx")
        ->required();
    command
        ->add_option("--model", arguments->model,
                     "The ONNX file that was trained, where it is not beside the checkpoint as model.onnx")
        ->type_name("FILE.onnx");
    command->add_flag("--raw", arguments->raw, "The weights themselves where the checkpoint has averages");
    command->add_flag("--external-data", arguments->options.external_data,
                      "Weights in FILE.onnx.data (always so above 2 GB)");
    command->footer(
        "Examples:\n"
        "  enmesh export runs/a/best.safetensors --out resnet9.onnx\n"
        "  enmesh export model.onnx --external-data --out split.onnx\n"
        "A network that came from an ONNX file keeps its names, its dynamic batch and everything else in the "
        "file.");
    command->callback([arguments] { run_export(*arguments); });
}

}  // namespace enmesh::cli
