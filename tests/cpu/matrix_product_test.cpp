#include <gtest/gtest.h>

#include <algorithm>

#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/cpu/kernels.hpp"
#include "enmesh/products/trial.hpp"

namespace enmesh::cpu {
namespace {

using products::NmOperand;
using products::Operand;
using products::Problem;
using products::Stage;
using products::TrialOperands;

std::vector<products::Candidate> kernel_candidates(const Problem& problem) {
    return candidates(product_kernels(), problem);
}
std::unique_ptr<products::Product> plan_kernel(const Problem& problem, std::string_view kernel) {
    return plan(product_kernels(), problem, kernel);
}

std::vector<Problem> problems(const products::Conv& conv) {
    const Pattern pattern{2, 8};
    return {{conv, Stage::ff, NmOperand{Operand::weights, pattern}, 1},
            {conv, Stage::bp, NmOperand{Operand::weights, pattern}, 1},
            {conv, Stage::bp, NmOperand{Operand::diff_dst, pattern}, 1},
            {conv, Stage::wg, NmOperand{Operand::diff_dst, pattern}, 1}};
}

TEST(MatrixProduct, GemmMatchesTheReference) {
    for (const auto& conv :
         {products::linear(37, 24, 16), products::linear(5, 19, 70), products::linear(64, 8, 1)}) {
        for (const Problem& problem : problems(conv)) {
            const TrialOperands operands(problem);
            products::KernelTrial gemm(operands, plan_kernel(problem, "gemm")),
                reference(operands, plan_kernel(problem, "reference"));
            EXPECT_TRUE(gemm.product().filled_in());
            gemm.run();
            reference.run();
            const Comparison same = compare(gemm.out(), reference.out(), 1e-5);
            EXPECT_TRUE(same.ok()) << to_string(problem) << ": " << same.describe();
        }
    }
}

TEST(MatrixProduct, GemmAddsBiasAndCutsOff) {
    const Problem problem{products::linear(21, 16, 12), Stage::ff, NmOperand{Operand::weights, {1, 4}}, 1};
    const TrialOperands operands(problem);
    const Buffer bias = products::random_floats(problem.conv.k);
    std::vector<std::vector<float>> results;
    for (const char* const kernel : {"gemm", "reference"}) {
        const std::unique_ptr<products::Product> product = plan_kernel(problem, kernel);
        Buffer prepared(product->prepared_bytes()), workspace(product->workspace_bytes());
        product->prepare(operands.packed.view(), prepared.as<std::byte>());
        results.emplace_back(static_cast<size_t>(problem.conv.dst_size()));
        product->run({.src = operands.src.as<float>().data(),
                      .prepared = prepared.as<std::byte>(),
                      .out = results.back().data(),
                      .epilogue = {.bias = bias.as<float>().data(), .relu = true},
                      .workspace = workspace.as<std::byte>()});
    }
    const Comparison same = compare(results[0], results[1], 1e-5);
    EXPECT_TRUE(same.ok()) << same.describe();
    EXPECT_GT(std::ranges::count(results[0], 0.0F), 0);
}

// Behind what skips zeros, before what fills them in; the default where all fill them in.
TEST(MatrixProduct, GemmStandsBehindKernelsThatSkipZeros) {
    for (const Problem& problem : problems(products::linear(32, 64, 64))) {
        const std::vector<products::Candidate> list = kernel_candidates(problem);
        const auto at = std::ranges::find(list, "gemm", &products::Candidate::name);
        ASSERT_NE(at, list.end());
        EXPECT_EQ(list.back().name, "reference");
        for (auto one = list.begin(); one != list.end(); ++one) {
            if (!one->declined.empty() || one->name == "reference") continue;
            EXPECT_EQ(plan_kernel(problem, one->name)->filled_in(), one >= at) << one->name;
        }
        const bool along_channels = problem.stage == Stage::bp && problem.sparse() == Operand::diff_dst;
        EXPECT_EQ(plan_kernel(problem, "")->kernel() == "gemm", along_channels) << to_string(problem);
    }
}

TEST(MatrixProduct, GemmDeclinesMapsAndDenseOperands) {
    const Problem maps{
        {.n = 8, .c = 8, .h = 4, .w = 4, .k = 8}, Stage::ff, NmOperand{Operand::weights, {2, 8}}, 8};
    const Problem dense{products::linear(8, 8, 8), Stage::ff};
    for (const Problem& problem : {maps, dense}) {
        EXPECT_EQ(kernel_candidates(problem).size(), products::candidates(problem).size());
        EXPECT_THROW(plan_kernel(problem, "gemm"), Error);
    }
}

}  // namespace
}  // namespace enmesh::cpu
