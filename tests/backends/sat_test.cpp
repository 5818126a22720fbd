#include "enmesh/backends/sat.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/train/trainer.hpp"
#include "step/net.hpp"
#include "support/folder.hpp"
#include "train/loss_scale.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

const data::Dataset& few_digits() {
    static const data::Dataset dataset = [] {
        data::Dataset all = data::digits();
        all.train.pixels.resize(size_t{72} * 64);
        all.train.labels.resize(72);
        all.test.pixels.resize(size_t{20} * 64);
        all.test.labels.resize(20);
        return all;
    }();
    return dataset;
}

/// The wide last layer makes the first scaled out-grads overflow binary16.
Graph loud_graph() {
    test::Net net(Shape{8, 1, 8, 8});
    ValueId x = net.add(Relu{}, {net.conv("stem", net.images, 8, 3)});
    x = net.add(Relu{}, {net.conv("conv", x, 16, 3)});
    x = net.linear("hidden", net.flatten(x), 16);
    return net.finish(net.add(Linear{}, {x, net.parameter("logits.weight", {10, 16}, 40)}, "logits"));
}

Trainer make_trainer(const std::string& method = "bdwp", int accumulate = 1) {
    return Trainer(loud_graph(), make_recipe(method, Pattern{2, 8}),
                   {.optimizer = Sgd{.lr = 1e-6}, .accumulate = accumulate},
                   {.seed = 3, .backend = sat_backend(), .model = {{"model", "loud"}}});
}

TEST(LossScale, HalvesOnOverflowAndGrowsAgain) {
    Progress progress{.loss_scale = 1024};
    EXPECT_TRUE(loss_scale::adjust(progress, true));
    EXPECT_EQ(progress.loss_scale, 512);
    EXPECT_EQ(progress.skipped_updates, 1);
    for (int64_t i = 1; i < loss_scale::growth_interval; ++i) loss_scale::adjust(progress, false);
    EXPECT_EQ(progress.loss_scale, 512);
    loss_scale::adjust(progress, false);
    EXPECT_EQ(progress.loss_scale, 1024);
    for (int64_t i = 1; i < loss_scale::growth_interval; ++i) loss_scale::adjust(progress, false);
    loss_scale::adjust(progress, true);
    loss_scale::adjust(progress, false);
    EXPECT_EQ(progress.loss_scale, 512) << "an overflow begins the count anew";
    progress.loss_scale = loss_scale::least;
    EXPECT_FALSE(loss_scale::adjust(progress, true));
}

TEST(SatBackend, SkipsUpdatesThatOverflow) {
    const testing::TemporaryFolder folder;
    Trainer trainer = make_trainer();
    std::vector<Simulated> steps;
    std::vector<Tensor> weights;
    const SimulatedCost cost = *trainer.simulated_cost();
    EXPECT_GT(cost.seconds_per_batch, 0);
    EXPECT_GT(cost.joules_per_update, 0);
    FitOptions options{.epochs = 1, .out = folder.path() / "run"};
    const ValueId parameter = trainer.step().parameters.back().weights;
    options.on_start = [&](const Progress&) { weights.push_back(trainer.executor().read(parameter)); };
    options.on_step = [&](const StepReport& report) {
        steps.push_back(*report.simulated);
        weights.push_back(trainer.executor().read(parameter));
    };
    trainer.fit(few_digits(), options);
    ASSERT_EQ(steps.size(), 9U);
    EXPECT_EQ(steps.front().skipped_updates, 1);
    EXPECT_EQ(steps.front().loss_scale, loss_scale::first / 2);
    EXPECT_LT(steps.back().skipped_updates, 9) << "the scale must come down to where updates work";
    for (size_t i = 0; i < steps.size(); ++i) {
        const int64_t before = i == 0 ? 0 : steps[i - 1].skipped_updates;
        const bool skipped = steps[i].skipped_updates > before;
        EXPECT_EQ(std::ranges::equal(weights[i].f32(), weights[i + 1].f32()), skipped) << i;
        const double updates = static_cast<double>(i + 1) - static_cast<double>(steps[i].skipped_updates);
        EXPECT_DOUBLE_EQ(steps[i].seconds, static_cast<double>(i + 1) * cost.seconds_per_batch +
                                               updates * cost.seconds_per_update);
    }
    const auto metrics = nlohmann::json::parse(read_file(folder.path() / "run" / "metrics.jsonl"));
    EXPECT_EQ(metrics["simulated_seconds"].get<double>(), steps.back().seconds);
    EXPECT_EQ(metrics["simulated_joules"].get<double>(), steps.back().joules);
    const auto summary = nlohmann::json::parse(read_file(folder.path() / "run" / "summary.json"));
    EXPECT_EQ(summary["simulated_seconds"].get<double>(), steps.back().seconds);
    EXPECT_EQ(summary["skipped_updates"].get<int64_t>(), steps.back().skipped_updates);
}

TEST(SatBackend, StoppedAndResumedGivesTheSameBits) {
    const testing::TemporaryFolder folder;
    for (const int accumulate : {1, 2}) {
        for (const std::string method : {"bdwp", "sdgp"}) {
            const fs::path whole = folder.path() / fmt::format("whole-{}-{}", method, accumulate);
            make_trainer(method, accumulate).fit(few_digits(), {.epochs = 2, .out = whole});
            for (const int64_t stop_after : {1, 4, 6}) {
                const fs::path out =
                    folder.path() / fmt::format("stopped-{}-{}-{}", method, accumulate, stop_after);
                int64_t updates = 0;
                FitOptions first{.epochs = 2, .out = out};
                first.stop = [&] { return ++updates == stop_after; };
                EXPECT_TRUE(make_trainer(method, accumulate).fit(few_digits(), first).interrupted);
                make_trainer(method, accumulate).fit(few_digits(), {.epochs = 2, .out = out, .resume = true});
                EXPECT_TRUE(read_file(whole / "last.safetensors") == read_file(out / "last.safetensors"))
                    << method << " after " << stop_after;
            }
        }
    }
}

std::string message_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(SatBackend, RefusesWhatItCannotDo) {
    const testing::TemporaryFolder folder;
    accel::SatConfig small;
    small.stce.max_group = 4;
    Trainer trainer(loud_graph(), make_recipe("bdwp", Pattern{2, 8}), {}, {.backend = sat_backend(small)});
    const std::string message =
        message_of([&] { trainer.fit(few_digits(), {.epochs = 1, .out = folder.path() / "refused"}); });
    EXPECT_NE(message.find("groups of 8 values: the array supports 1..4 (max_group)"), std::string::npos)
        << message;
    EXPECT_FALSE(fs::exists(folder.path() / "refused"));

    make_trainer().fit(few_digits(), {.epochs = 1, .out = folder.path() / "sat"});
    Trainer other(loud_graph(), make_recipe("bdwp", Pattern{2, 8}), {.optimizer = Sgd{.lr = 1e-6}},
                  {.seed = 3, .model = {{"model", "loud"}}});
    EXPECT_NE(message_of([&] {
                  other.fit(few_digits(), {.epochs = 2, .out = folder.path() / "sat", .resume = true});
              }).find("device is sat there and absent here"),
              std::string::npos);
}

}  // namespace
}  // namespace enmesh
