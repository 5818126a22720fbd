#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cli/commands.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/base/writable.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/report/progress_bar.hpp"
#include "enmesh/train/trainer.hpp"

namespace enmesh::cli {
namespace {

struct DemoArguments {
    std::filesystem::path out = "runs/demo";
    int64_t epochs = 12;
    uint64_t seed = 0;
    RunRequest run{.threads = 1,  // too small a network to gain from more
                   .plan = "default"};
    std::string json;
};

/// One of the two runs of the demo: everything but the recipe is the same.
struct DemoRun {
    TrainingStep step;
    double test_accuracy = 0;
    double seconds = 0;
};

DemoRun train_one(std::FILE* stream, const DemoArguments& arguments, const data::Dataset& dataset,
                  const Recipe& recipe) {
    const ModelOptions model = {.classes = dataset.classes(),
                                .image = {dataset.image.channels, dataset.image.height, dataset.image.width},
                                .batch = 32};
    Trainer trainer(models::digits_cnn(model), recipe,
                    {.optimizer = Sgd{.lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4}},
                    {.seed = arguments.seed,
                     .backend = requested_backend(arguments.run),
                     .model = describe_model("digits_cnn", model)});
    std::fprintf(stream, "%s: %s%s", method_text(trainer.step()).c_str(),
                 products_text(trainer.step()).c_str(), left_dense_text(trainer.step()).c_str());
    std::fflush(stream);
    const Timer timer;
    const FitReport report = trainer.fit(
        dataset, {.epochs = arguments.epochs,
                  .schedule = {.kind = ScheduleKind::cosine, .warmup = 1, .milestones = {}},
                  .augmentation = {.crop_padding = 1},
                  .out = arguments.out / recipe.method,
                  .on_epoch = [&](const EpochReport& epoch) {
                      std::fprintf(stream, "  epoch %2lld/%lld  loss %.4f  test accuracy %.2f %%  %s\n",
                                   static_cast<long long>(epoch.epoch),
                                   static_cast<long long>(arguments.epochs), epoch.train_loss,
                                   100 * epoch.test_accuracy, report::format_duration(epoch.seconds).c_str());
                      std::fflush(stream);
                  }});
    return {.step = trainer.step(),
            .test_accuracy = report.epochs.back().test_accuracy,
            .seconds = timer.seconds()};
}

int64_t executed_multiply_adds(const TrainingStep& step) {
    int64_t sum = 0;
    for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG})
        sum += count_products(step, stage).sparse_multiply_adds;
    return sum;
}

double executed_share(const TrainingStep& step, Stage stage) {
    const StageCount count = count_products(step, stage);
    return static_cast<double>(count.sparse_multiply_adds) / static_cast<double>(count.multiply_adds);
}

double ratio_of(const DemoRun& dense, const DemoRun& sparse) {
    return static_cast<double>(executed_multiply_adds(sparse.step)) /
           static_cast<double>(executed_multiply_adds(dense.step));
}

void print_table(std::FILE* stream, const DemoRun& dense, const DemoRun& sparse) {
    const auto row = [&](std::string_view name, const std::string& a, const std::string& b,
                         const std::string& note) {
        std::fprintf(stream, "%s\n", fmt::format("{:<28}{:>14}{:>14}   {}", name, a, b, note).c_str());
    };
    const auto percent = [](double share) { return fmt::format("{:.2f} %", 100 * share); };
    std::fputc('\n', stream);
    row("", "dense", "BDWP 2:8", "");
    row("test accuracy", percent(dense.test_accuracy), percent(sparse.test_accuracy),
        fmt::format("gap {:.2f} points", 100 * (dense.test_accuracy - sparse.test_accuracy)));
    for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
        row("skipped in " + to_string(stage), percent(1 - executed_share(dense.step, stage)),
            percent(1 - executed_share(sparse.step, stage)), "of the multiply-adds");
    }
    row("multiply-adds per step", with_commas(executed_multiply_adds(dense.step)),
        with_commas(executed_multiply_adds(sparse.step)),
        fmt::format("{:.2f} of dense", ratio_of(dense, sparse)));
    row("time", fmt::format("{:.1f} s", dense.seconds), fmt::format("{:.1f} s", sparse.seconds),
        "training and evaluation");
}

nlohmann::ordered_json summary_of(const DemoRun& run) {
    return {{"test_accuracy", run.test_accuracy},
            {"multiply_adds_per_step", executed_multiply_adds(run.step)},
            {"seconds", run.seconds}};
}

void run_demo(const DemoArguments& arguments) {
    require_writable_directory(arguments.out);
    require_writable_target(arguments.json);
    const data::Dataset dataset = data::digits();
    std::FILE* const stream = arguments.json == "-" ? stderr : stdout;
    const DemoRun dense = train_one(stream, arguments, dataset, make_recipe("dense", std::nullopt));
    const DemoRun sparse = train_one(stream, arguments, dataset, make_recipe("bdwp", Pattern{2, 8}));
    print_table(stream, dense, sparse);
    const nlohmann::ordered_json summary = {{"dense", summary_of(dense)},
                                            {"bdwp", summary_of(sparse)},
                                            {"accuracy_gap", dense.test_accuracy - sparse.test_accuracy},
                                            {"multiply_adds_ratio", ratio_of(dense, sparse)}};
    const std::string text = json_document(summary, 2);
    write_file(arguments.out / "summary.json", text);
    write_result(arguments.json, text);
}

}  // namespace

void add_demo(CLI::App& app) {
    CLI::App* const command =
        app.add_subcommand("demo", "Train a small CNN on the embedded digits, dense and with BDWP 2:8");
    const auto arguments = std::make_shared<DemoArguments>();
    command->add_option("--out", arguments->out, "Folder of both runs and summary.json")
        ->capture_default_str();
    command->add_option("--epochs", arguments->epochs, "Passes over the training set")->capture_default_str();
    command->add_option("--seed", arguments->seed, "The same for both")->capture_default_str();
    command->add_option("--threads", arguments->run.threads, "Threads; 0 is all cores")
        ->capture_default_str();
    command->add_option("--json", arguments->json, "Write the summary as JSON too (- for standard output)");
    command->footer("Examples:\n  enmesh demo\n  enmesh demo --seed 1 --out runs/demo1 --json -");
    command->callback([arguments] { run_demo(*arguments); });
}

}  // namespace enmesh::cli
