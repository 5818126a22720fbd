#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.hpp"
#include "cli/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/train/evaluate.hpp"

namespace enmesh::cli {
namespace {

struct EvalArguments {
    ModelRequest model;
    RunRequest run;
    std::filesystem::path init;
    bool raw = false, keep_norms = false;
    std::string json;
};

/// The model and the recipe as the file describes them; the command line wins.
ModelRequest complete(const EvalArguments& arguments, const CheckpointInfo& info) {
    if (!arguments.model.model.empty()) return arguments.model;
    ModelRequest request = model_request(info.model, arguments.init);
    request.batch = arguments.model.batch;
    request.method = arguments.model.method;
    request.pattern = arguments.model.pattern;
    return request;
}

void run_eval(const EvalArguments& arguments, bool method_given) {
    const Backend backend = requested_backend(arguments.run);
    if (arguments.init.empty() && !names_onnx(arguments.model))
        refuse("--init FILE is missing: weights to evaluate (an ONNX file given as --model brings its own)");
    CheckpointInfo info;
    if (!arguments.init.empty())
        info = read_checkpoint_info(SafetensorsReader(arguments.init), arguments.init);
    const ModelRequest request = complete(arguments, info);
    const Recipe recipe = method_given || !info.is_checkpoint ? requested_recipe(request) : info.recipe;
    const data::Dataset dataset = requested_dataset(arguments.run, request);
    const ModelOptions options = model_options_for(request, dataset);
    const RequestedModel model = requested_model(request, options);
    auto executor = backend.make(build_inference_step(model.graph, recipe), "");
    initialize(*executor, 0);
    if (!arguments.init.empty()) {
        check_description(info.model, model.description, arguments.init);
        load_weights(arguments.init, *executor, !arguments.raw);
    }
    if (!arguments.keep_norms) executor = folded_inference(backend, model.graph, recipe, *executor);
    const Evaluation result = evaluate(*executor, dataset, dataset.test);

    if (arguments.json != "-") {
        std::printf("%s on %s: test accuracy %.2f %%, loss %.4f, %lld images\n", request.model.c_str(),
                    dataset.name.c_str(), 100 * result.accuracy, result.loss,
                    static_cast<long long>(result.images));
    }
    if (arguments.json.empty()) return;
    const nlohmann::ordered_json json = {
        {"test_accuracy", result.accuracy}, {"loss", result.loss}, {"images", result.images}};
    if (arguments.json == "-") {
        std::printf("%s\n", json.dump(2).c_str());
    } else {
        write_file(arguments.json, json.dump(2) + "\n");
    }
}

}  // namespace

void add_eval(CLI::App& app) {
    CLI::App* const command = app.add_subcommand("eval", "Evaluate a checkpoint on a data set's test images");
    const auto arguments = std::make_shared<EvalArguments>();
    add_model_options(*command, arguments->model);
    add_run_options(*command, arguments->run);
    command->add_option("--init", arguments->init, "Checkpoint or weights (safetensors)")->type_name("FILE");
    command->add_flag("--raw", arguments->raw, "The weights themselves where the checkpoint has averages");
    command->add_flag("--keep-norms", arguments->keep_norms,
                      "Run batch norms on their own instead of folding them into the layers before them");
    command->add_option("--json", arguments->json, "Write the result as JSON (- for standard output)");
    command->footer(
        "Examples:\n"
        "  enmesh eval --init runs/a/best.safetensors --data cifar10:data/cifar10\n"
        "  enmesh eval --init weights.safetensors --model resnet18 --data cifar10:data/cifar10 --json -\n"
        "  enmesh eval --model resnet18.onnx --data imagefolder:photos --image 3x224x224");
    command->callback(
        [command, arguments] { run_eval(*arguments, command->get_option("--method")->count() > 0); });
}

}  // namespace enmesh::cli
