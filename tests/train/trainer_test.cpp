#include "enmesh/train/trainer.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/graph/with_batch.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/report/event_file.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

/// A folder that goes away with the test.
class Folder {
  public:
    Folder() : path_(fs::temp_directory_path() / fmt::format("enmesh-trainer-{}-{}", ::getpid(), count_++)) {
        fs::create_directories(path_);
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    fs::path operator/(const char* name) const { return path_ / name; }

  private:
    static inline int count_ = 0;
    fs::path path_;
};

void keep_first(data::Images& images, const data::ImageShape& shape, size_t count) {
    images.pixels.resize(count * static_cast<size_t>(shape.pixels()));
    images.labels.resize(count);
}

const data::Dataset& few_digits() {
    static const data::Dataset dataset = [] {
        data::Dataset all = data::digits();
        keep_first(all.train, all.image, 72);
        keep_first(all.test, all.image, 20);
        return all;
    }();
    return dataset;
}

Graph small_graph(int64_t batch = 8) {
    return models::digits_cnn({.classes = 10, .image = {1, 8, 8}, .width = 0.25, .batch = batch});
}

struct Case {
    std::string name;
    std::string method;
    StepOptions options;
};

std::vector<Case> cases() {
    return {{"dense", "dense", {.optimizer = Sgd{.lr = 0.05}}},
            {"bdwp_clip", "bdwp", {.optimizer = Sgd{.lr = 0.05, .nesterov = true}, .clip_norm = 1}},
            {"sr_ste_ema", "sr-ste", {.optimizer = Sgd{.lr = 0.05}, .average_decay = 0.9}},
            {"asp_adamw", "asp", {.optimizer = AdamW{.lr = 0.01}}},
            {"transposable", "transposable", {.optimizer = Sgd{.lr = 0.05}}},
            {"sdgp_accumulate", "sdgp+mvue", {.optimizer = Sgd{.lr = 0.05}, .accumulate = 2}}};
}

Trainer make_trainer(const Case& one, uint64_t seed = 3) {
    return Trainer(small_graph(), make_recipe(one.method, Pattern{2, 8}), one.options,
                   {.seed = seed, .model = {{"model", "digits_cnn"}}});
}

FitOptions two_epochs(const fs::path& out) {
    return {.epochs = 2, .schedule = {.warmup = 0.5}, .augmentation = {.crop_padding = 1}, .out = out};
}

class EveryCase : public ::testing::TestWithParam<Case> {};

TEST_P(EveryCase, StoppedAndResumedGivesTheBitsOfARunThatWasNeverStopped) {
    Folder folder;
    make_trainer(GetParam()).fit(few_digits(), two_epochs(folder / "whole"));
    for (const int64_t stop_after : {1, 3, 4, 6}) {
        const fs::path out = folder / fmt::format("stopped{}", stop_after).c_str();
        FitOptions first = two_epochs(out);
        int64_t updates = 0;
        first.stop = [&] { return ++updates == stop_after; };
        EXPECT_TRUE(make_trainer(GetParam()).fit(few_digits(), first).interrupted);
        FitOptions second = two_epochs(out);
        second.resume = true;
        const FitReport report = make_trainer(GetParam()).fit(few_digits(), second);
        EXPECT_EQ(report.progress.epoch, 2);
        for (const char* const file : {"last.safetensors", "best.safetensors"}) {
            EXPECT_TRUE(read_file(folder / "whole" / file) == read_file(out / file))
                << file << " after " << stop_after;
        }
    }
}

TEST_P(EveryCase, LearnsAndEvaluatesAsItsCheckpointDoes) {
    Folder folder;
    Trainer trainer = make_trainer(GetParam());
    FitOptions options = two_epochs(folder / "run");
    options.epochs = 4;
    const FitReport report = trainer.fit(few_digits(), options);
    EXPECT_LT(report.epochs.back().train_loss, report.epochs.front().train_loss);
    const Evaluation test = trainer.evaluate(few_digits(), few_digits().test);
    EXPECT_EQ(test.images, 20);
    EXPECT_EQ(test.accuracy, report.epochs.back().test_accuracy);

    const fs::path file = folder / "run" / "last.safetensors";
    const CheckpointInfo info = read_checkpoint_info(SafetensorsReader(file), file);
    EXPECT_EQ(info.recipe, trainer.step().recipe);
    EXPECT_EQ(info.model.at("model"), "digits_cnn");
    const auto inference = cpu_backend().make(build_inference_step(small_graph(), info.recipe), "");
    initialize(*inference, 99);
    load_weights(file, *inference);
    const Evaluation again = evaluate(*inference, few_digits(), few_digits().test);
    EXPECT_EQ(again.accuracy, test.accuracy);
    EXPECT_EQ(again.loss, test.loss);
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryCase, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

std::string message_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(Trainer, WritesWhatAnEpochWas) {
    Folder folder;
    Trainer trainer = make_trainer(cases()[0]);
    const FitReport report = trainer.fit(few_digits(), two_epochs(folder / "run"));
    ASSERT_EQ(report.epochs.size(), 2U);
    EXPECT_EQ(report.epochs[1].step, 18);
    const std::string metrics = read_file(folder / "run" / "metrics.jsonl");
    EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 2);
    EXPECT_TRUE(metrics.starts_with("{\"epoch\":1,\"step\":9,\"train_loss\":")) << metrics;
    const auto events = report::read_event_file(folder / "run" / report::EventFile::name);
    EXPECT_EQ(
        std::count_if(events.begin(), events.end(), [](const auto& e) { return e.tag == "train/loss"; }), 18);
    EXPECT_TRUE(fs::exists(folder / "run" / "summary.json"));
    double sum = 0;
    for (const auto& event : events) {
        if (event.tag == "train/loss" && event.step <= 9) sum += event.value;
    }
    EXPECT_NEAR(sum / 9, report.epochs[0].train_loss, 1e-5);
}

TEST(Trainer, ResumingAFinishedRunChangesNothing) {
    Folder folder;
    FitOptions options = two_epochs(folder / "run");
    make_trainer(cases()[0]).fit(few_digits(), options);
    const std::string last = read_file(folder / "run" / "last.safetensors");
    const std::string metrics = read_file(folder / "run" / "metrics.jsonl");
    options.resume = true;
    EXPECT_TRUE(make_trainer(cases()[0]).fit(few_digits(), options).epochs.empty());
    EXPECT_TRUE(read_file(folder / "run" / "last.safetensors") == last);
    EXPECT_EQ(read_file(folder / "run" / "metrics.jsonl"), metrics);
}

TEST(Trainer, ASecondFitGoesOn) {
    Folder folder;
    Trainer trainer = make_trainer(cases()[0]);
    FitOptions options = two_epochs({});
    options.schedule = {.kind = ScheduleKind::constant, .warmup = 0};
    options.epochs = 1;
    trainer.fit(few_digits(), options);
    options.epochs = 2;
    trainer.fit(few_digits(), options);
    trainer.save(folder / "twice.safetensors");
    Trainer once = make_trainer(cases()[0]);
    once.fit(few_digits(), options);
    once.save(folder / "once.safetensors");
    EXPECT_TRUE(read_file(folder / "twice.safetensors") == read_file(folder / "once.safetensors"));
}

TEST(Trainer, RefusesACheckpointOfAnotherRun) {
    Folder folder;
    const FitOptions options = two_epochs(folder / "run");
    make_trainer(cases()[0]).fit(few_digits(), options);
    FitOptions resumed = options;
    resumed.resume = true;
    const std::string file = (folder / "run" / "last.safetensors").string();
    EXPECT_EQ(message_of([&] { make_trainer(cases()[0], 4).fit(few_digits(), resumed); }),
              file + ": a checkpoint of another run: seed is 3 there and 4 here");
    EXPECT_EQ(message_of([&] { make_trainer(cases()[1]).fit(few_digits(), resumed); }),
              file +
                  ": a checkpoint of another run: clip_norm is 0.0 there and 1.0 here; optimizer.nesterov is "
                  "false there "
                  "and true here; recipe.bp_weight is dense there and magnitude here; and 3 more");
    data::Dataset other = few_digits();
    other.train.pixels[5] ^= 1;
    EXPECT_NE(message_of([&] { make_trainer(cases()[0]).fit(other, resumed); }).find("data.checksum"),
              std::string::npos);
}

TEST(Trainer, RefusesBeforeAnythingIsWritten) {
    Folder folder;
    const FitOptions options = two_epochs(folder / "run");
    data::Dataset wide = few_digits();
    wide.image = {1, 4, 16};
    EXPECT_EQ(message_of([&] { make_trainer(cases()[0]).fit(wide, options); }),
              "the model takes images of 1x8x8, digits has 1x4x16");
    FitOptions huge = options;
    huge.batch = 73;
    EXPECT_EQ(message_of([&] { make_trainer(cases()[0]).fit(few_digits(), huge); }),
              "a batch of 73 is larger than the training set of 72 images; use --batch 72 or less");
    data::Dataset many = few_digits();
    many.class_names.push_back("another");
    EXPECT_EQ(message_of([&] { make_trainer(cases()[0]).fit(many, options); }),
              "the model tells 10 classes apart, digits has 11");
    EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(Trainer, ALossThatIsNotFiniteNamesStepPlaceAndCheckpoint) {
    Folder folder;
    // Without norms, so that absurd weights make the next outputs overflow.
    const Graph graph = models::lenet5({.classes = 10, .image = {1, 8, 8}, .batch = 8});
    const FitOptions options{
        .epochs = 2, .schedule = {.kind = ScheduleKind::constant, .warmup = 0}, .out = folder / "run"};
    const auto message_with = [&](double lr) {
        return message_of([&] {
            Trainer(graph, make_recipe("dense", {}), {.optimizer = AdamW{.lr = lr}})
                .fit(few_digits(), options);
        });
    };
    const std::string message = message_with(1e20);
    EXPECT_NE(message.find("at step 2 (epoch 1): the output of layer '"), std::string::npos) << message;
    EXPECT_NE(message.find("no checkpoint was written"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "run" / "last.safetensors"));
}

TEST(Trainer, StartsFromWeights) {
    Folder folder;
    Trainer first = make_trainer(cases()[0]);
    first.fit(few_digits(), two_epochs({}));
    first.save(folder / "first.safetensors");
    Trainer second = make_trainer(cases()[1], 17);
    second.init_from(folder / "first.safetensors");
    const Graph one = first.model(), two = second.model();
    const ValueId weights = one.find("conv3.weight"), mean = one.find("bn2.running_mean");
    const auto given = [](const Graph& graph, ValueId id) {
        return graph.value(id).initializer.given->f32();
    };
    EXPECT_TRUE(std::ranges::equal(given(one, weights), given(two, weights)));
    EXPECT_TRUE(std::ranges::equal(given(one, mean), given(two, mean)));

    const Graph wider = models::digits_cnn({.classes = 10, .image = {1, 8, 8}, .width = 0.5, .batch = 8});
    Trainer other(wider, make_recipe("dense", {}));
    other.init_from(folder / "first.safetensors");
    EXPECT_EQ(message_of([&] { other.model(); }),
              (folder / "first.safetensors").string() +
                  ": weights of another model: 'conv1.weight' is F32 8x1x3x3 there and F32 16x1x3x3 here; "
                  "'bn1.weight' is "
                  "F32 8 there and F32 16 here; 'bn1.bias' is F32 8 there and F32 16 here; and 18 more");
}

/// Layers and operations with the types of what they give, whatever the order of the values.
std::string structure(const Graph& graph) {
    std::string text;
    for (const Node& node : graph.nodes()) {
        text += node.layer + " " + to_string(node.operation);
        for (const ValueId output : node.outputs) text += " " + to_string(graph.type(output));
        text += "\n";
    }
    return text;
}

TEST(Trainer, AnotherBatchIsTheSameGraph) {
    for (const char* const name : {"digits_cnn", "vit_tiny", "lenet5"}) {
        ModelOptions options{.classes = 10, .image = {1, 8, 8}, .batch = 6};
        const std::string want = structure(build_model(name, options));
        for (const int64_t batch : {1, 4}) {
            options.batch = batch;
            EXPECT_EQ(structure(with_batch(build_model(name, options), 6)), want)
                << name << " from " << batch;
        }
    }
}

/// Attention as PyTorch's own module writes it, on T × N·heads × width; a token per image; a parameter that
/// is reshaped.
Graph tokens_first(int64_t batch) {
    constexpr int64_t tokens = 3, heads = 2, width = 4;
    Graph graph;
    const ValueId images = graph.add_input("images", {{batch, tokens, heads * width}, DType::f32, {}});
    const ValueId token = graph.add_parameter("token", {heads * width}, {}, false);
    const ValueId row = graph.add_one(Reshape{{1, 1, heads * width}}, {token}, "token");
    const ValueId rows = graph.add_one(Expand{{batch, 1, heads * width}, true}, {row}, "token");
    const ValueId all = graph.add_one(Concat{1}, {rows, images}, "joined");
    ValueId x = graph.add_one(Transpose{{1, 0, 2}}, {all}, "turned");
    x = graph.add_one(Reshape{{tokens + 1, batch * heads, width}}, {x}, "heads");
    x = graph.add_one(Transpose{{1, 0, 2}}, {x}, "turned");
    x = graph.add_one(MatMul{false, true}, {x, x}, "scores");
    x = graph.add_one(Reshape{{batch, heads, tokens + 1, tokens + 1}}, {x}, "apart");
    graph.outputs = {graph.add_one(Reshape{{batch, heads * 16}}, {x}, "flat")};
    return graph;
}

TEST(Trainer, TheBatchFollowsItsAxisThroughRearrangements) {
    EXPECT_EQ(structure(with_batch(tokens_first(4), 6)), structure(tokens_first(6)));
    EXPECT_EQ(structure(with_batch(tokens_first(2), 1)), structure(tokens_first(1)));
    Graph mixed;
    const ValueId images = mixed.add_input("images", {{4, 6}, DType::f32, {}});
    mixed.outputs = {
        mixed.add_one(Reshape{{8, 3}}, {mixed.add_one(Transpose{{1, 0}}, {images}, "turned")}, "mixed")};
    EXPECT_THROW(with_batch(mixed, 6), Error);
}

TEST(TrainerDefaults, LeaveTheUsersCacheOfKernelsAlone) {
    const auto plan = [] { return make_trainer({"bdwp", "bdwp", {}}).plan(); };
    const std::string before = plan();
    EXPECT_FALSE(fs::exists(cpu::KernelCache::default_path()));
    cpu::KernelCache cache;
    for (const auto& [product, kernel] : cpu::parse_kernel_plan(before).kernels)
        cache.remember(product, "reference");
    cache.save();
    const std::string file = read_file(cpu::KernelCache::default_path());
    EXPECT_EQ(plan(), before);
    EXPECT_EQ(read_file(cpu::KernelCache::default_path()), file);
    fs::remove_all(cpu::KernelCache::default_path().parent_path());
}

}  // namespace
}  // namespace enmesh
