#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cli/commands.hpp"
#include "cli/options/interrupt.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/optimizer_options.hpp"
#include "cli/options/plan_option.hpp"
#include "cli/options/run_options.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/writable.hpp"
#include "enmesh/onnx/export.hpp"
#include "enmesh/report/progress_bar.hpp"
#include "enmesh/train/trainer.hpp"

namespace enmesh::cli {
namespace {

struct TrainArguments {
    ModelRequest model;
    RunRequest run;
    OptimizerRequest optimizer;
    std::optional<double> sr_decay;
    double ema = 0, label_smoothing = 0;
    int accumulate = 1;
    std::string augment = "standard";
    bool no_augment = false;
    int64_t epochs = 10;
    uint64_t seed = 0;
    std::filesystem::path out = "runs/train";
    std::filesystem::path init, config;
    std::vector<std::string> fresh;
    bool resume = false, overwrite = false;
    int64_t checkpoint_every = 0;
    std::string json, plan_out;
};

void check_step(const TrainArguments& arguments) {
    require_between("--epochs", static_cast<double>(arguments.epochs), 1, 1e9);
    check_request(arguments.optimizer, arguments.epochs);
    require_between("--label-smoothing", arguments.label_smoothing, 0, 1);
    // An average with decay 1 never moves.
    require_between("--ema", arguments.ema, 0, std::nextafter(1.0, 0.0));
    require_between("--accumulate", arguments.accumulate, 1, 1 << 20);
}

StepOptions step_options_for(const TrainArguments& arguments, const Graph& graph) {
    StepOptions options = requested_step(arguments.optimizer, graph);
    options.label_smoothing = arguments.label_smoothing;
    options.accumulate = arguments.accumulate;
    options.average_decay = arguments.ema;
    return options;
}

Recipe train_recipe(const TrainArguments& arguments) {
    Recipe recipe = requested_recipe(arguments.model);
    if (!arguments.sr_decay.has_value()) return recipe;
    require_between("--sr-decay", *arguments.sr_decay, 0, 1e30);
    if (recipe.ff_weight == WeightRule::dense) {
        refuse("--sr-decay needs a method whose FF weights are N:M, '{}' is not", recipe.method);
    }
    recipe.sr_decay = *arguments.sr_decay;
    return recipe;
}

FitOptions fit_options(const TrainArguments& arguments, const data::Dataset& dataset) {
    require_between("--checkpoint-every", static_cast<double>(arguments.checkpoint_every), 0, 1e15);
    FitOptions options{.epochs = arguments.epochs,
                       .schedule = requested_schedule(arguments.optimizer),
                       .out = arguments.out,
                       .resume = arguments.resume,
                       .checkpoint_every = arguments.checkpoint_every};
    options.augmentation =
        data::parse_augmentation(arguments.no_augment ? "none" : arguments.augment, dataset);
    return options;
}

/// A run that was killed in its first epoch starts anew under --resume; one that has lost its last checkpoint
/// must not take the best one along.
void check_resumable(const std::filesystem::path& out) {
    const std::filesystem::path last = out / "last.safetensors", best = out / "best.safetensors";
    std::error_code ignored;
    if (std::filesystem::exists(last, ignored) || !std::filesystem::exists(best, ignored)) return;
    const int64_t epoch = read_checkpoint_info(SafetensorsReader(best), best).progress.epoch;
    if (epoch <= 1) return;
    refuse(
        "{} is missing: copy {} to it to go on after epoch {}, or start anew with --overwrite instead of "
        "--resume",
        last.string(), best.string(), epoch);
}

void check_out(const TrainArguments& arguments) {
    if (arguments.resume && arguments.overwrite)
        refuse("--resume goes on with a run and --overwrite starts anew: give one of them");
    require_writable_directory(arguments.out);
    if (arguments.overwrite) return;
    if (arguments.resume) return check_resumable(arguments.out);
    for (const char* const name : {"last.safetensors", "best.safetensors", "metrics.jsonl"}) {
        std::error_code code;
        const auto bytes = std::filesystem::file_size(arguments.out / name, code);
        if (code || bytes == 0) continue;
        refuse("{} holds a run already ({}): --resume continues it, --overwrite starts anew",
               arguments.out.string(), name);
    }
}

/// The ONNX network goes beside the checkpoints, where it does not come from there.
bool copies_network(const TrainArguments& arguments) {
    return names_onnx(arguments.model) && !same_file(arguments.model.model, arguments.out / "model.onnx");
}

void check_files(const TrainArguments& arguments) {
    std::vector<NamedFile> inputs = {{"--config", arguments.config},
                                     {"--sat-config", arguments.run.sat_config},
                                     {"--plan", plan_file(arguments.run.plan)},
                                     {"--model", onnx_file(arguments.model)}};
    const NamedFile init{"--init", arguments.init};
    // A run that goes on or starts anew may have begun with what it replaces.
    if (!arguments.resume && !arguments.overwrite) inputs.push_back(init);
    std::vector<NamedFile> outputs;
    outputs.push_back({"--out", arguments.out});
    for (const std::filesystem::path& file : run_files(arguments.out)) outputs.push_back({"--out", file});
    if (copies_network(arguments)) outputs.push_back({"--out", arguments.out / "model.onnx"});
    outputs.push_back({"--plan-out", arguments.plan_out});
    // The summary may be asked for where it is written anyhow.
    const bool is_summary = same_file(arguments.json, arguments.out / "summary.json");
    const NamedFile json{"--json", is_summary ? "" : arguments.json};
    outputs.push_back(json);
    require_apart(outputs, inputs);
    require_apart({json}, {init, {"--init", network_file(arguments.init), "ONNX network"}});
}

void check_init(const TrainArguments& arguments, const ModelDescription& here) {
    CheckpointInfo info = read_checkpoint_info(SafetensorsReader(arguments.init), arguments.init);
    // What differs is then a layer that starts afresh, or is found where its weights are read.
    if (!arguments.fresh.empty()) {
        info.model.erase("classes");
        info.model.erase("structure");
    }
    check_description(info.model, here, arguments.init);
}

/// Weights that do not fit are often those of a classifier for other classes.
FitReport fit(Trainer& trainer, const data::Dataset& dataset, const FitOptions& options) {
    try {
        return trainer.fit(dataset, options);
    } catch (const WeightsDiffer& error) {
        throw Error(error.kind(), fmt::format("{}; --fresh LAYERS starts layers afresh", error.what()));
    }
}

void init_from(Trainer& trainer, const TrainArguments& arguments) {
    if (arguments.init.empty()) {
        if (!arguments.fresh.empty()) refuse("--fresh goes with --init: without it all layers start afresh");
        return;
    }
    trainer.init_from(arguments.init, {.fresh = arguments.fresh});
}

/// "SAT 12.3 s 45.6 J": of the run so far.
std::string simulated_text(const std::optional<Simulated>& simulated) {
    if (!simulated.has_value()) return "";
    std::string text = fmt::format("SAT {:.4g} s {:.4g} J", simulated->seconds, simulated->joules);
    if (simulated->skipped_updates > 0)
        text += fmt::format(", {} updates skipped", simulated->skipped_updates);
    return text;
}

/// What a run says whose loss rises.
std::string loss_rose_text(const LossWatch& watch) {
    return fmt::format(
        "warning: at step {} the loss has risen to {:.4g}, above the {:.4g} of the first steps: "
        "try a smaller --lr, a longer --warmup, or --clip 1",
        watch.rose_at, watch.smooth, watch.first);
}

/// What a user sees of a run: on a terminal a bar and lines above it, elsewhere lines.
class Display {
  public:
    explicit Display(std::FILE* stream) : stream_(stream) {}

    /// `first_step`: steps done before this start.
    void start(int64_t epochs, int64_t steps_per_epoch, int64_t images_per_step, int64_t first_step) {
        report::ProgressOptions options;
        options.epochs = epochs;
        options.steps_per_epoch = steps_per_epoch;
        options.images_per_step = images_per_step;
        options.first_step = first_step;
        options.stream = stream_;
        options.terminal = report::is_terminal(stream_);
        bar_.emplace(std::move(options));
    }
    void step(const StepReport& report) {
        bar_->update(report.update, report.loss, simulated_text(report.simulated));
    }
    void epoch(const EpochReport& report, int64_t epochs) {
        line(fmt::format(
                 "epoch {}/{}  loss {:.4f}  test accuracy {:.2f} %  test loss {:.4f}  {:.0f} images/s  {}",
                 report.epoch, epochs, report.train_loss, 100 * report.test_accuracy, report.test_loss,
                 report.images_per_second, report::format_duration(report.seconds)) +
             (report.simulated.has_value() ? "  " + simulated_text(report.simulated) : ""));
    }
    void line(const std::string& text) {
        if (bar_) {
            bar_->message(text);
        } else {
            std::fprintf(stream_, "%s\n", text.c_str());
        }
        std::fflush(stream_);
    }
    void finish() {
        if (bar_) bar_->finish();
        bar_.reset();
    }

  private:
    std::FILE* stream_;
    std::optional<report::ProgressBar> bar_;
};

/// The file that the first weights come from; "" if they are random.
std::string first_weights(const TrainArguments& arguments) {
    if (!arguments.init.empty()) return arguments.init.string();
    return onnx_file(arguments.model);
}

void print_plan(std::FILE* stream, const TrainArguments& arguments, const data::Dataset& dataset,
                const Trainer& trainer, const HeldMasks& held) {
    const TrainingStep& step = trainer.step();
    int64_t parameters = 0;
    for (const StepParameter& parameter : step.parameters) {
        parameters += step.graph.type(parameter.weights).shape.elements();
    }
    std::fprintf(stream, "%s",
                 fmt::format("{} on {}: {} parameters, {} training and {} test images of {}, {} classes\n",
                             arguments.model.model, dataset.name, with_commas(parameters),
                             with_commas(dataset.train.count()), with_commas(dataset.test.count()),
                             to_string(dataset.image), dataset.classes())
                     .c_str());
    std::fprintf(stream, "method %s; %s", method_text(step).c_str(), products_text(step).c_str());
    std::fputs(held_text(held, first_weights(arguments)).c_str(), stream);
    std::fputs(left_dense_text(step, held_dense(held)).c_str(), stream);
    std::fputs(arithmetic_text(trainer.executor()).c_str(), stream);
    std::fputs(filled_in_text(trainer.executor()).c_str(), stream);
    std::fflush(stream);
}

/// Names the kernel plan, and keeps it where --plan-out asks for that.
void tell_kernel_plan(std::FILE* stream, const TrainArguments& arguments, const Trainer& trainer,
                      const RequestedPlan& asked, bool resumed) {
    const cpu::KernelPlan plan = cpu::parse_kernel_plan(trainer.plan());
    const DType dtype = product_dtype(arguments.run.dtype);
    if (resumed && asked.kept.has_value() &&
        !(cpu::plan_for(*asked.kept, trainer.step(), dtype, asked.file) == plan)) {
        refuse("--plan {}: the run in {} goes on with the plan {} of its checkpoint, which is another",
               asked.file, arguments.out.string(), cpu::plan_hash(plan));
    }
    note_other_machine(asked);
    write_plans(arguments.plan_out, {{cpu::step_key(trainer.step(), dtype), plan}});
    const PlanSource source = !resumed                 ? PlanSource::asked
                              : trainer.plan_changed() ? PlanSource::instead_of_checkpoint
                                                       : PlanSource::checkpoint;
    std::fputs(plan_text(plan, arguments.run.plan, arguments.plan_out, source).c_str(), stream);
    std::fflush(stream);
}

void run_train(CLI::App& command, TrainArguments& arguments) {
    if (!arguments.config.empty()) {
        std::vector<RecipeOverride>& overrides = arguments.model.overrides;
        const auto given = static_cast<std::ptrdiff_t>(overrides.size());
        apply_config(command, arguments.config);
        // The last match wins: what the command line says goes behind what the file says.
        std::rotate(overrides.begin(), overrides.begin() + given, overrides.end());
    }
    check_out(arguments);
    require_writable_target(arguments.json);
    if (!arguments.plan_out.empty() && arguments.run.device != "cpu")
        refuse("--plan-out: device {} has kernels of its own", arguments.run.device);
    require_writable_plan(arguments.plan_out);
    require_no_network("--init", arguments.init);
    check_files(arguments);
    if (arguments.model.model.empty() && arguments.run.data.starts_with("digits"))
        arguments.model.model = "digits_cnn";
    const RequestedPlan plan = requested_plan(arguments.run.plan);
    const Backend backend = requested_backend(arguments.run, plan);
    const Recipe recipe = train_recipe(arguments);
    check_step(arguments);
    if (arguments.resume) take_from_checkpoint(arguments.optimizer, arguments.out / "last.safetensors");
    const data::Dataset dataset = requested_dataset(arguments.run, arguments.model);
    const ModelOptions model = model_options_for(arguments.model, dataset);
    FitOptions options = fit_options(arguments, dataset);
    Notes notes;
    const RequestedModel requested = requested_model(arguments.model, model, notes);
    if (requested.onnx.has_value() && !requested.onnx->not_trainable.empty())
        refuse("--model {}: it runs but cannot be trained: {}", arguments.model.model,
               requested.onnx->not_trainable.front());
    const ModelDescription& description = requested.description;
    if (!arguments.init.empty()) check_init(arguments, description);
    const HeldMasks held = with_held_masks(requested.graph, recipe, first_weights(arguments));
    const StepOptions step_options = step_options_for(arguments, requested.graph);
    Trainer trainer(requested.graph, held.recipe, step_options,
                    {.seed = arguments.seed, .backend = backend, .model = description});
    init_from(trainer, arguments);

    std::FILE* const stream = arguments.json == "-" ? stderr : stdout;
    Display display(stream);
    options.on_step = [&](const StepReport& report) {
        display.step(report);
        if (report.loss_rose.has_value()) display.line(loss_rose_text(*report.loss_rose));
    };
    options.on_epoch = [&](const EpochReport& report) { display.epoch(report, arguments.epochs); };
    options.stop = [] { return InterruptGuard::signal() != 0; };
    options.on_note = [&](const std::string& note) { display.line(note); };
    options.on_start = [&](const Progress& progress) {
        check_out(arguments);  // once more, as nobody else writes there now
        notes.print();
        print_plan(stream, arguments, dataset, trainer, held);
        display.line(training_text(step_options, options.schedule, arguments.epochs));
        if (arguments.run.device == "cpu")
            tell_kernel_plan(stream, arguments, trainer, plan, progress.update > 0);
        if (const auto cost = trainer.simulated_cost(); cost.has_value()) {
            display.line(
                fmt::format("device sat: a batch takes {:.4g} s and {:.4g} J, an update {:.4g} s and {:.4g} "
                            "J (simulated)",
                            cost->seconds_per_batch, cost->joules_per_batch, cost->seconds_per_update,
                            cost->joules_per_update));
        }
        if (copies_network(arguments))
            onnx::save(arguments.out / "model.onnx", *requested.onnx, onnx::initial_values());
        if (arguments.resume && progress.update == 0)
            display.line(fmt::format("no checkpoint in {}: starting anew", arguments.out.string()));
        if (progress.update > 0) {
            display.line(fmt::format("going on after epoch {}, step {}", progress.epoch, progress.update));
        }
        const int64_t images_per_step = model.batch * arguments.accumulate;
        const int64_t batches = dataset.train.count() / model.batch;
        display.start(arguments.epochs, batches / arguments.accumulate, images_per_step, progress.update);
    };
    const InterruptGuard guard;
    const FitReport report = fit(trainer, dataset, options);
    display.finish();
    if (report.interrupted && report.progress.epoch < arguments.epochs) {
        std::fprintf(
            stderr, "enmesh: interrupted at step %lld; the same command with --resume goes on from %s\n",
            static_cast<long long>(report.progress.update), (arguments.out / "last.safetensors").c_str());
        throw Exit{128 + InterruptGuard::signal()};
    }
    display.line(fmt::format(
        "best test accuracy {:.2f} % in epoch {}; checkpoints, metrics and TensorBoard events in {}",
        100 * report.progress.best_accuracy, report.progress.best_epoch, arguments.out.string()));
    display.line(fmt::format("as ONNX: enmesh export {} --out FILE.onnx",
                             (arguments.out / "best.safetensors").string()));
    if (arguments.json.empty()) return;
    write_result(arguments.json, read_file(arguments.out / "summary.json"));
}

void add_run_length_options(CLI::App& command, TrainArguments& arguments) {
    const auto group = [](CLI::Option* option) { return option->group("Optimization"); };
    group(command.add_option("--epochs", arguments.epochs, "Passes over the training set")
              ->capture_default_str());
    group(command.add_option("--seed", arguments.seed, "Decides weights, order and augmentation")
              ->check([](const std::string& text) {
                  return text.starts_with("-") ? std::string("must be 0 or more") : "";
              })
              ->capture_default_str());
    add_optimizer_options(command, arguments.optimizer);
    group(command.add_option("--accumulate", arguments.accumulate, "Batches per update")
              ->capture_default_str());
    group(command.add_option("--ema", arguments.ema, "Decay of the averaged weights; 0 keeps none")
              ->capture_default_str());
    group(command.add_option("--label-smoothing", arguments.label_smoothing, "Share spread over all classes")
              ->capture_default_str());
    group(command.add_option("--sr-decay", arguments.sr_decay, "Pull of pruned weights towards zero"));
    group(
        command.add_option("--augment", arguments.augment, "none, standard, or a list: crop=4,flip,cutout=8")
            ->capture_default_str());
    group(command.add_flag("--no-augment", arguments.no_augment, "The same as --augment none"));
}

}  // namespace

void add_train(CLI::App& app) {
    CLI::App* const command = app.add_subcommand("train", "Train a network, dense or under N:M sparsity");
    const auto arguments = std::make_shared<TrainArguments>();
    add_model_options(*command, arguments->model);
    add_run_options(*command, arguments->run);
    add_plan_out_option(*command, arguments->plan_out);
    add_run_length_options(*command, *arguments);
    command->add_option("--out", arguments->out, "Folder of checkpoints, metrics and events")
        ->type_name("DIR")
        ->capture_default_str();
    command->add_flag("--resume", arguments->resume, "Go on from DIR/last.safetensors");
    command->add_flag("--overwrite", arguments->overwrite,
                      "Start anew in a folder that holds a run; not with --resume");
    command
        ->add_option("--init", arguments->init,
                     "Weights to start from: a checkpoint, a safetensors file of PyTorch's names, an index "
                     "of parts, or a folder")
        ->type_name("FILE");
    command
        ->add_option("--fresh", arguments->fresh,
                     "Layers (with * and ?) that do not take their weights from --init, say a classifier for "
                     "other classes; may be "
                     "repeated")
        ->type_name("LAYERS")
        ->allow_extra_args(false)
        ->take_all();
    command
        ->add_option("--checkpoint-every", arguments->checkpoint_every,
                     "Updates between checkpoints within an epoch; 0 is none")
        ->capture_default_str();
    command
        ->add_option("--config", arguments->config, "TOML file with options by name; the command line wins")
        ->type_name("FILE");
    command->add_option("--json", arguments->json, "Write the summary as JSON (- for standard output)");
    command->footer(
        defaults_text() +
        "Examples:\n"
        "  enmesh train --data digits --method bdwp --pattern 2:8 --out runs/digits\n"
        "  enmesh train --model resnet9 --data cifar10:data/cifar10 --method bdwp --pattern 2:8 --epochs 20 "
        "--out runs/a\n"
        "  enmesh train --model resnet18.onnx --data imagefolder:photos --image 3x224x224 --method asp "
        "--pattern 2:4 --out runs/b\n"
        "  enmesh train ... --out runs/a --resume\n"
        "  enmesh train --data digits --method bdwp --pattern 2:8 --device sat --sat-set rows=16 --sat-set "
        "cols=16\n"
        "Ctrl-C finishes the step, writes a checkpoint and exits with 130 (SIGTERM: 143).");
    command->callback([command, arguments] { run_train(*command, *arguments); });
}

}  // namespace enmesh::cli
