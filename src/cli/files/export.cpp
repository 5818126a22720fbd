#include "enmesh/onnx/export.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "cli/commands.hpp"
#include "cli/options/named_files.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cli {
namespace {

struct ExportArguments {
    std::filesystem::path source, out;
    std::string model, image;
    bool raw = false;
    onnx::ExportOptions options;
};

/// A network of ours or of an ONNX file with a checkpoint's weights.
void export_checkpoint(const ExportArguments& arguments) {
    if (!arguments.image.empty()) refuse("--image: {} knows its images", arguments.source.string());
    Notes notes;
    const CheckpointNetwork network = load_network(arguments.source, arguments.model, !arguments.raw, notes);
    const onnx::TensorSource weights = network.weights();
    if (network.model.onnx.has_value()) {
        onnx::save(arguments.out, *network.model.onnx, weights, arguments.options);
    } else {
        onnx::save(arguments.out, network.model.graph, weights, arguments.options);
    }
    notes.print();
}

void run_export(const ExportArguments& arguments) {
    if (!onnx::is_onnx_path(arguments.out))
        refuse("--out {}: a name that ends in .onnx expected", arguments.out.string());
    require_writable_target(arguments.out.string());
    require_apart({{"--out", arguments.out}}, network_inputs("IN", arguments.source, arguments.model));
    if (onnx::is_onnx_path(arguments.source)) {
        if (!arguments.model.empty())
            refuse("--model goes with a checkpoint, {} is a whole model", arguments.source.string());
        onnx::ImportOptions options{.keep_batch = true};
        if (!arguments.image.empty()) options.image = parse_image(arguments.image);
        const onnx::Model model = onnx::import(arguments.source, options);
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
    add_network_file_options(*command, arguments->model, arguments->image);
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
