#include "enmesh/cpu/kernel_plan.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/cpu/executor.hpp"
#include "enmesh/models/models.hpp"

namespace enmesh::cpu {
namespace {

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

TEST(KernelPlan, ExecutorReplaysAPlan) {
    const ModelOptions options{.classes = 10, .image = {1, 8, 8}, .width = 1, .batch = 8};
    const auto step = [&] {
        return build_training_step(build_model("digits_cnn", options), make_recipe("bdwp", Pattern{2, 8}),
                                   {});
    };
    Options planned;
    planned.plan = make_executor(step())->plan();
    EXPECT_EQ(planned.plan.layout, "images");
    EXPECT_FALSE(planned.plan.kernels.empty());
    for (auto& [product, kernel] : planned.plan.kernels) kernel = "reference";
    EXPECT_EQ(make_executor(step(), planned)->plan(), planned.plan);
    planned.plan.kernels.begin()->second = "no such kernel";
    EXPECT_THROW(make_executor(step(), planned), Error);
}

}  // namespace
}  // namespace enmesh::cpu
