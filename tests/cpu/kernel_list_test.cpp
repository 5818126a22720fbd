#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "cpu/against_reference.hpp"
#include "cpu/dummy_kernel.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/bench/kernel_contestants.hpp"
#include "enmesh/cpu/kernels.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/products/trial.hpp"
#include "support/cache_folder.hpp"

namespace enmesh::cpu {
namespace {

using products::Lanes;
using products::NmOperand;
using products::Operand;
using products::Problem;
using products::Stage;

products::KernelList with_dummy() {
    products::KernelList list = product_kernels();
    list.push_back(test::dummy_kernel());
    return list;
}

/// Options with the dummy in the list.
Options dummy_options(KernelChoice choice) {
    Options options;
    options.layout = MapLayout::images;
    options.choice = choice;
    options.kernels = std::make_shared<const products::KernelList>(with_dummy());
    return options;
}

TrainingStep small_step() {
    const ModelOptions options{.classes = 10, .image = {1, 8, 8}, .width = 1, .batch = 8};
    return build_training_step(build_model("digits_cnn", options), make_recipe("bdwp", Pattern{2, 8}), {});
}

const products::Conv some_conv{
    .n = 8, .c = 16, .h = 6, .w = 6, .k = 24, .r = 3, .s = 3, .pad_top = 1, .pad_left = 1};

std::vector<std::string> names(const Problem& problem, const products::KernelList& list) {
    std::vector<std::string> result;
    for (const products::Candidate& one : candidates(list, problem)) result.push_back(one.name);
    return result;
}

TEST(KernelList, ANewKernelIsACandidateWhereItsPropertiesPutIt) {
    const products::KernelList list = with_dummy();
    const Problem dense{some_conv, Stage::ff, {}, 8};
    const Problem sparse{some_conv, Stage::ff, NmOperand{Operand::weights, {2, 8}}, 8};
    // Last of what is alike: of dense kernels, and of those that skip zeros.
    const std::vector<std::string> of_dense = names(dense, list), of_sparse = names(sparse, list);
    EXPECT_EQ(of_dense.back(), "reference");
    EXPECT_EQ(of_dense[of_dense.size() - 2], "dummy");
    ASSERT_GE(of_sparse.size(), 2U);
    EXPECT_EQ(of_sparse[0], "broadcast");
    EXPECT_EQ(of_sparse[1], "dummy");
    Problem grouped = dense;
    grouped.conv.groups = 2;
    for (const products::Candidate& one : candidates(list, grouped)) {
        if (one.name == "dummy") {
            EXPECT_EQ(one.declined, "grouped convolution");
        }
    }
    EXPECT_THROW(plan(list, grouped, "dummy"), Error);
    EXPECT_THROW(plan(product_kernels(), dense, "dummy"), Error);
}

TEST(KernelList, ANewKernelIsChosenByAPlanThatNamesIt) {
    Options options = dummy_options(KernelChoice::defaults);
    const KernelPlan defaults = make_executor(small_step(), options)->plan();
    options.plan = defaults;
    for (auto& [product, kernel] : options.plan.kernels) {
        EXPECT_NE(kernel, "dummy") << product;
        kernel = "dummy";
    }
    const auto executor = make_executor(small_step(), options);
    EXPECT_EQ(executor->plan(), options.plan);
    const auto reports = executor->commands();
    EXPECT_GT(std::ranges::count(reports, "dummy loops", &CommandReport::kernel), 0);
}

TEST(KernelList, ANewKernelIsMeasured) {
    const testing::CacheFolder cache;  // empty, so that what it measures is measured now
    Options options = dummy_options(KernelChoice::measured);
    // For convolutions it is alone beside the reference, which is measured against nothing.
    products::KernelList list{test::dummy_kernel()};
    for (const products::Kernel& kernel : product_kernels()) {
        if (kernel.name == "reference" || !kernel.library.empty()) list.push_back(kernel);
    }
    options.kernels = std::make_shared<const products::KernelList>(list);
    int dummies = 0;
    for (const auto& [product, kernel] : make_executor(small_step(), options)->plan().kernels) {
        EXPECT_NE(kernel, "reference") << product;
        if (kernel == "dummy") {
            EXPECT_EQ(KernelCache().find(product), "dummy");
            ++dummies;
        }
    }
    EXPECT_GT(dummies, 0);
}

TEST(KernelList, ANewKernelIsTimedByBenchKernels) {
    const products::KernelList list = with_dummy();
    const auto count = [&](const products::KernelList& kernels, std::string_view name) {
        const auto all =
            bench::contestants_of({some_conv, false, Stage::ff, {Pattern{2, 8}}}, DType::f32, kernels);
        return std::ranges::count(all, name, &bench::Contestant::name);
    };
    EXPECT_EQ(count(list, "dense dummy"), 1);
    EXPECT_EQ(count(list, "2:8 dummy"), 1);
    EXPECT_EQ(count(product_kernels(), "dense dummy"), 0);
    EXPECT_EQ(count(list, "oneDNN direct"), 1);
    EXPECT_EQ(count(list, "2:8 broadcast"), 1);
}

// The untimed choice for each kind of product: what every plan and published figure so far was made with.
TEST(KernelList, DefaultsAreThoseOfEveryRunSoFar) {
    const auto first = [](const Problem& problem) {
        const auto kernels = accepting(product_kernels(), problem);
        return kernels.empty() ? "" : planned_name(*kernels.front(), problem);
    };
    const products::Conv rows = products::linear(32, 64, 48);
    const NmOperand weights{Operand::weights, {2, 8}}, gradient{Operand::diff_dst, {2, 8}};
    EXPECT_EQ(first({rows, Stage::ff, {}, 1, Lanes::rows}), "gemm");
    EXPECT_EQ(first({rows, Stage::wg, {}, 1, Lanes::rows}), "gemm");
    EXPECT_EQ(first({rows, Stage::ff, weights}), "broadcast");
    EXPECT_EQ(first({rows, Stage::bp, gradient}), "gemm");
    EXPECT_EQ(first({rows, Stage::wg, gradient}), "kept_rows");
    EXPECT_EQ(first({some_conv, Stage::bp, weights, 8}), "broadcast");
    EXPECT_EQ(first({some_conv, Stage::wg, {}, 1}), "outer");
    const Problem channels{some_conv, Stage::ff, {}, 16, Lanes::channels};
    EXPECT_EQ(first({.conv = {.n = 2, .c = 32, .h = 5, .w = 5, .k = 32},
                     .stage = Stage::ff,
                     .sparsity = weights,
                     .block = 16,
                     .lanes = Lanes::channels,
                     .numbers = products::bf16_numbers})
                  .substr(0, 13),
              "permuted bf16");
    EXPECT_EQ(plan_key(channels), "oneDNN FF n8 c16 h6 w6 k24 r3 s3 pt1 pl1 dense b1");
    EXPECT_EQ(products::plan_key({some_conv, Stage::ff, weights, 8}),
              "FF n8 c16 h6 w6 k24 r3 s3 pt1 pl1 weights 2:8 b8");
    EXPECT_EQ(products::plan_key({rows, Stage::ff, weights, 1, Lanes::rows, false, products::bf16_numbers}),
              "bf16 FF n32 c64 h1 w1 k48 r1 s1 weights 2:8 b1");
}

TEST(KernelList, APlanOfAnotherProcessorFindsTheKernelByItsFirstWord) {
    const Problem problem{
        products::linear(32, 64, 48), Stage::ff, NmOperand{Operand::weights, {2, 8}}, 1, Lanes::rows, false,
        products::bf16_numbers};
    const auto kernels = default_order(product_kernels(), problem);
    const products::Kernel* const permuted = find_planned(kernels, "permuted bf16 elsewhere", problem);
    ASSERT_NE(permuted, nullptr);
    EXPECT_EQ(permuted->name, "permuted");
    EXPECT_EQ(find_planned(kernels, "permute", problem), nullptr);
    ASSERT_NE(find_planned(kernels, "dense", problem), nullptr);
    EXPECT_EQ(find_planned(kernels, "dense", problem)->name, "oneDNN gemm");
}

}  // namespace
}  // namespace enmesh::cpu
