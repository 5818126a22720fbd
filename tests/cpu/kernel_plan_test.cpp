#include "enmesh/cpu/kernel_plan.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cpu/onednn.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/cpu/executor.hpp"
#include "enmesh/cpu/plan_file.hpp"
#include "enmesh/models/models.hpp"
#include "support/cache_folder.hpp"

namespace enmesh::cpu {
namespace {

using testing::CacheFolder;
using testing::Variable;

TrainingStep small_step() {
    const ModelOptions options{.classes = 10, .image = {1, 8, 8}, .width = 1, .batch = 8};
    return build_training_step(build_model("digits_cnn", options), make_recipe("bdwp", Pattern{2, 8}), {});
}

TEST(KernelPlan, ReadsWhatItPrints) {
    const KernelPlan plan{"images", {{"ff n8 c8", "broadcast"}, {"wg n8 c8", "outer"}}};
    EXPECT_EQ(parse_kernel_plan(to_text(plan)), plan);
    EXPECT_THROW(parse_kernel_plan("{}"), Error);
    EXPECT_THROW(parse_kernel_plan("not a plan"), Error);
    EXPECT_THROW(parse_kernel_choice("fastest"), Error);
}

TEST(KernelPlan, CacheRemembersAcrossInstancesAndSurvivesGarbage) {
    const auto path = std::filesystem::temp_directory_path() / "enmesh-kernel-plan-test" / "kernels.json";
    std::filesystem::remove_all(path.parent_path());
    KernelCache first(path);
    EXPECT_EQ(first.find("product"), "");
    first.remember("product", "winograd");
    first.save();
    EXPECT_EQ(KernelCache(path).find("product"), "winograd");
    write_file(path, "garbage");
    EXPECT_EQ(KernelCache(path).find("product"), "");
    std::filesystem::remove_all(path.parent_path());
}

TEST(KernelPlan, CachesSavedAtOnceKeepEachOthersEntries) {
    const CacheFolder folder;
    KernelCache one(folder.file()), other(folder.file());
    one.remember("product of one", "winograd");
    other.remember("product of the other", "dense");
    one.save();
    other.save();
    EXPECT_EQ(KernelCache(folder.file()).find("product of one"), "winograd");
    EXPECT_EQ(other.find("product of one"), "winograd");

    std::vector<std::thread> writers;
    for (int writer = 0; writer < 8; ++writer) {
        writers.emplace_back([&folder, writer] {
            KernelCache cache(folder.file());
            cache.remember(fmt::format("product {}", writer), "outer");
            cache.save();
        });
    }
    for (std::thread& writer : writers) writer.join();
    const KernelCache all(folder.file());
    EXPECT_EQ(all.find("product of the other"), "dense");
    for (int writer = 0; writer < 8; ++writer)
        EXPECT_EQ(all.find(fmt::format("product {}", writer)), "outer");
}

TEST(KernelPlan, ExecutorReplaysAPlan) {
    Options planned;
    planned.plan = make_executor(small_step())->plan();
    EXPECT_EQ(planned.plan.layout, "images");
    EXPECT_FALSE(planned.plan.kernels.empty());
    for (auto& [product, kernel] : planned.plan.kernels) kernel = "reference";
    EXPECT_EQ(make_executor(small_step(), planned)->plan(), planned.plan);
    planned.plan.kernels.begin()->second = "no such kernel";
    EXPECT_THROW(make_executor(small_step(), planned), Error);
}

TEST(KernelPlan, LayoutOfAnotherProcessorIsGivenUpAndAnUnknownOneRefused) {
    Options options;
    options.plan.layout = "channels";
    EXPECT_EQ(make_executor(small_step(), options)->plan().layout, "images");
    options.layout = MapLayout::channels;
    options.plan.layout = "";
    EXPECT_THROW(make_executor(small_step(), options), Error);
    EXPECT_THROW(parse_kernel_plan(R"({"layout": "bananas", "kernels": {}})"), Error);
}

TEST(KernelPlan, CachedNamesThatDoNotServeAreIgnored) {
    const CacheFolder folder;
    const KernelPlan defaults = make_executor(small_step())->plan();
    for (const char* const stale : {"no such kernel", "kept"}) {
        KernelCache cache(folder.file());
        for (const auto& [product, kernel] : defaults.kernels) cache.remember(product, stale);
        cache.save();
        Options options;
        options.choice = KernelChoice::cached;
        EXPECT_EQ(make_executor(small_step(), options)->plan(), defaults);
    }
    Options options;
    options.choice = KernelChoice::measured;
    for (const auto& [product, kernel] : make_executor(small_step(), options)->plan().kernels) {
        EXPECT_NE(kernel, "no such kernel");
        EXPECT_EQ(KernelCache(folder.file()).find(product), kernel);
    }
}

TEST(KernelPlan, ChoicesWithoutWinogradAreKeptApart) {
    const CacheFolder folder;
    KernelCache with(folder.file());
    with.remember("product", "winograd");
    with.save();
    const Variable without("ENMESH_WINOGRAD", "0");
    KernelCache apart(folder.file());
    EXPECT_EQ(apart.find("product"), "");
    apart.remember("product", "dense");
    apart.save();
    const Variable again("ENMESH_WINOGRAD", "1");
    EXPECT_EQ(KernelCache(folder.file()).find("product"), "winograd");
}

TEST(KernelPlan, LayoutFollowsOnednnsWinograd) {
    const auto layout = [](MapLayout wanted) {
        const ModelOptions options{.classes = 10, .image = {1, 8, 8}, .width = 1, .batch = 8};
        Options with;
        with.layout = wanted;
        TrainingStep step =
            build_training_step(build_model("digits_cnn", options), make_recipe("dense", {}), {});
        return make_executor(std::move(step), with)->plan().layout;
    };
    EXPECT_EQ(layout(MapLayout::channels), "channels");
    EXPECT_EQ(layout(MapLayout::automatic), onednn_has_winograd() ? "channels" : "images");
    const Variable without("ENMESH_WINOGRAD", "0");
    EXPECT_FALSE(onednn_has_winograd());
    EXPECT_EQ(layout(MapLayout::automatic), "images");
}

/// A cache that names another kernel than the default for every product, and the other layout.
void poison(const KernelPlan& defaults, const std::string& step) {
    KernelCache cache;
    for (const auto& [product, kernel] : defaults.kernels) {
        cache.remember(product, "reference");
        cache.remember(product + " prepared once", "reference");
    }
    cache.remember("layout of " + step, defaults.layout == "images" ? "channels" : "images");
    cache.save();
}

TEST(KernelPlan, DefaultsNeitherReadNorWriteTheCache) {
    const CacheFolder folder;
    const KernelPlan defaults = make_executor(small_step())->plan();
    EXPECT_FALSE(std::filesystem::exists(folder.file()));
    poison(defaults, step_key(small_step(), DType::f32));
    const std::string before = read_file(folder.file());
    Options cached;
    cached.choice = KernelChoice::cached;
    EXPECT_NE(make_executor(small_step(), cached)->plan(), defaults) << "the cache would change nothing";
    EXPECT_EQ(make_executor(small_step())->plan(), defaults);
    EXPECT_EQ(read_file(folder.file()), before);
}

TEST(KernelPlan, TestsHaveACacheOfTheirOwn) {
    EXPECT_NE(KernelCache::default_path().string().find("enmesh-test-cache-"), std::string::npos);
}

PlanFile kept_plan() {
    PlanFile plans = plan_file_here();
    plans.steps.push_back({step_key(small_step(), DType::f32), make_executor(small_step())->plan()});
    return plans;
}

TEST(KernelPlan, KeptPlansAreReadBack) {
    const PlanFile plans = kept_plan();
    EXPECT_EQ(parse_plan_file(to_text(plans), "plans.json"), plans);
    EXPECT_EQ(plan_for(plans, small_step(), DType::f32, "plans.json"), plans.steps[0].plan);
    EXPECT_EQ(other_machine(plans, "plans.json"), "");
    EXPECT_EQ(plan_hash(plans.steps[0].plan).size(), 16U);
    KernelPlan other = plans.steps[0].plan;
    other.kernels.begin()->second += "x";
    EXPECT_NE(plan_hash(other), plan_hash(plans.steps[0].plan));
    for (const char* const text : {"", "{}", "[]", "not JSON", R"({"format": "enmesh kernel plans 2"})",
                                   R"({"format": "enmesh kernel plans 1", "isa": 3})"})
        EXPECT_THROW(parse_plan_file(text, "plans.json"), Error) << text;
}

TEST(KernelPlan, KeptPlansOfAnotherStepOrProcessorAreRefusedOrNamed) {
    PlanFile plans = kept_plan();
    EXPECT_THROW(plan_for(plans, small_step(), DType::bf16, "plans.json"), Error);
    plans.machine = "another machine";
    EXPECT_NE(other_machine(plans, "plans.json").find("plans.json: made on another machine"),
              std::string::npos);
    EXPECT_EQ(plan_for(plans, small_step(), DType::f32, "plans.json"), plans.steps[0].plan);
    plans.isa = "sve";
    EXPECT_THROW(plan_for(plans, small_step(), DType::f32, "plans.json"), Error);

    const KernelPlan used = plans.steps[0].plan;
    KernelPlan asked = used;
    EXPECT_NO_THROW(require_used(asked, used, "plans.json"));
    asked.kernels.begin()->second = "reference";
    EXPECT_THROW(require_used(asked, used, "plans.json"), Error);
    asked = used;
    asked.kernels["ff of nothing"] = "reference";
    EXPECT_THROW(require_used(asked, used, "plans.json"), Error);
    asked = used;
    asked.kernels.erase(asked.kernels.begin());
    EXPECT_THROW(require_used(asked, used, "plans.json"), Error);
    asked = used;
    asked.layout.clear();
    EXPECT_THROW(require_used(asked, used, "plans.json"), Error);
    asked = used;
    asked.layout = "channels";
    EXPECT_THROW(require_used(asked, used, "plans.json"), Error);
}

}  // namespace
}  // namespace enmesh::cpu
