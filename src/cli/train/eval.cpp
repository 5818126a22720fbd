#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/plan_option.hpp"
#include "cli/options/run_options.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/graph/with_batch.hpp"
#include "enmesh/train/evaluate.hpp"
#include "enmesh/train/trainer.hpp"

namespace enmesh::cli {
namespace {

struct EvalArguments {
    ModelRequest model;
    RunRequest run;
    std::filesystem::path init;
    bool raw = false, keep_norms = false;
    std::string json;
};

/// Which of the options were on the command line.
struct Given {
    bool method = false, width = false;
};

/// A checkpoint says which model it is; what the command line says may not contradict it.
ModelRequest complete(const EvalArguments& arguments, const CheckpointInfo& info, const Given& given) {
    const ModelRequest& wanted = arguments.model;
    if (!wanted.model.empty()) return wanted;
    ModelRequest request = model_request(info.model, arguments.init);
    const auto differs = [&](const char* option, const std::string& here, const std::string& there) {
        refuse("{} {}: the checkpoint's model has {}; --model names another model", option, here, there);
    };
    if (wanted.classes.has_value() && wanted.classes != request.classes)
        differs("--classes", std::to_string(*wanted.classes), info.model.at("classes"));
    if (!wanted.image.empty() && wanted.image != request.image)
        differs("--image", wanted.image, request.image);
    if (given.width && wanted.width != request.width)
        differs("--width", fmt::format("{}", wanted.width), info.model.at("width"));
    request.batch = wanted.batch;
    request.method = wanted.method;
    request.pattern = wanted.pattern;
    request.overrides = wanted.overrides;
    request.on_demand = wanted.on_demand;
    return request;
}

/// What --method names, or else the checkpoint's recipe; dense where there is none.
Recipe recipe_of(const ModelRequest& request, const CheckpointInfo& info, const Given& given) {
    if (given.method) return requested_recipe(request);
    if (!request.pattern.empty() || !request.overrides.empty() || request.on_demand) {
        refuse(
            "--pattern, --dense, --sparse and --on-demand go with --method: without it {} own recipe counts",
            info.is_checkpoint ? "the checkpoint's" : "the weights'");
    }
    return info.recipe;
}

/// A recipe that changes no weights, and what there is to say of it.
struct FittedRecipe {
    Recipe recipe;
    std::string note;
};

/// Weights that hold an N:M pattern run N:M, unless --method says otherwise; what --method prunes is named.
FittedRecipe fit_to_weights(const Recipe& recipe, const Graph& graph, const EvalArguments& arguments,
                            const std::string& from, const Given& given) {
    const WeightSource weights = starting_weights(arguments.init, !arguments.raw);
    if (!given.method) {
        if (!recipe.dense()) return {recipe, ""};
        const HeldMasks held = held_masks(graph, weights);
        return {held.recipe, runs_held_text(held)};
    }
    const HeldMasks held = keep_held_masks(graph, recipe, weights);
    const std::vector<std::string> pruned = weights_to_prune(graph, held.recipe, weights);
    std::string note = held_text(held, from);
    if (!pruned.empty())
        note += fmt::format("method {} prunes weights that are not {}: {}\n", recipe.method,
                            to_string(recipe.pattern), fmt::join(pruned, ", "));
    return {held.recipe, note};
}

/// The graph at a batch of `images` where its own is larger and it can be another.
Graph at_most(Graph graph, int64_t images) {
    if (graph.type(graph.find("images")).shape[0] <= images) return graph;
    try {
        return with_batch(graph, images);
    } catch (const Error&) {
        return graph;
    }
}

void run_eval(const EvalArguments& arguments, const Given& given) {
    require_writable_target(arguments.json);
    require_no_network("--init", arguments.init);
    require_apart({{"--json", arguments.json}},
                  network_inputs("--init", arguments.init, onnx_file(arguments.model)));
    if (const std::string file = plan_file(arguments.run.plan);
        !file.empty() && requested_plan(file).kept.has_value())
        refuse("--plan {}: kept plans go with train and bench step", file);
    const Backend backend = requested_backend(arguments.run);
    if (arguments.init.empty() && !names_onnx(arguments.model))
        refuse("--init FILE is missing: weights to evaluate (an ONNX file given as --model brings its own)");
    CheckpointInfo info;
    if (!arguments.init.empty())
        info = read_checkpoint_info(SafetensorsReader(arguments.init), arguments.init);
    const ModelRequest request = complete(arguments, info, given);
    const Recipe wanted = recipe_of(request, info, given);
    const data::Dataset dataset = requested_dataset(arguments.run, request);
    Notes notes;
    RequestedModel model = requested_model(request, model_options_for(request, dataset), notes);
    model.graph = at_most(std::move(model.graph), dataset.test.count());
    if (!arguments.init.empty()) check_description(info.model, model.description, arguments.init);
    const std::string from = arguments.init.empty() ? request.model : arguments.init.string();
    const auto [recipe, note] = fit_to_weights(wanted, model.graph, arguments, from, given);
    auto executor = backend.make(build_inference_step(model.graph, recipe), "");
    initialize(*executor, 0);
    if (!arguments.init.empty()) {
        notes.add(load_weights(arguments.init, *executor, {.averages = !arguments.raw}));
    }
    if (!arguments.keep_norms) executor = folded_inference(backend, model.graph, recipe, *executor);
    notes.print();
    const Evaluation result = evaluate(*executor, dataset, dataset.test);

    if (arguments.json != "-") {
        std::fputs(note.c_str(), stdout);
        std::fputs(arithmetic_text(*executor).c_str(), stdout);
        std::printf("%s on %s: test accuracy %.2f %%, loss %.4f, %lld images\n", request.model.c_str(),
                    dataset.name.c_str(), 100 * result.accuracy, result.loss,
                    static_cast<long long>(result.images));
    }
    const TrainingStep& step = executor->step();
    const nlohmann::ordered_json json = {{"test_accuracy", result.accuracy},
                                         {"loss", result.loss},
                                         {"images", result.images},
                                         {"dtype", arguments.run.dtype},
                                         {"batch", step.graph.type(step.images).shape[0]}};
    write_result(arguments.json, json_document(json, 2));
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
    command->callback([command, arguments] {
        const auto given = [&](const char* option) { return command->get_option(option)->count() > 0; };
        run_eval(*arguments, {.method = given("--method"), .width = given("--width")});
    });
}

}  // namespace enmesh::cli
