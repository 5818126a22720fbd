#include <gtest/gtest.h>

#include <limits>

#include "cpu/convert.hpp"
#include "enmesh/products/trial.hpp"

namespace enmesh::cpu {
namespace {

using products::KernelTrial;
using products::NmOperand;
using products::Operand;
using products::Problem;
using products::spot_check;
using products::Stage;
using products::TrialOperands;

/// One of each stage and sparse operand, on shapes with everything that an index could forget.
std::vector<Problem> problems() {
    const products::Conv strided{.n = 4,
                                 .c = 16,
                                 .h = 9,
                                 .w = 7,
                                 .k = 8,
                                 .r = 3,
                                 .s = 2,
                                 .stride_h = 2,
                                 .pad_top = 1,
                                 .pad_left = 2,
                                 .pad_right = 1,
                                 .dilation_w = 2};
    products::Conv grouped{.n = 4,
                           .c = 32,
                           .h = 5,
                           .w = 6,
                           .k = 16,
                           .r = 3,
                           .s = 3,
                           .pad_top = 1,
                           .pad_left = 1,
                           .pad_bottom = 1,
                           .pad_right = 1,
                           .groups = 2};
    std::vector<Problem> all;
    for (const products::Conv& conv : {strided, grouped, products::linear(24, 16, 8)}) {
        for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
            const int block = conv.h > 1 ? 4 : 1;
            all.push_back({conv, stage, {}, block});
            all.push_back({conv, stage,
                           NmOperand{stage == Stage::wg ? Operand::diff_dst : Operand::weights, {2, 4}},
                           block});
        }
    }
    return all;
}

TEST(SpotCheck, AgreesWithTheReferenceAndCatchesWrongOutputs) {
    for (const Problem& problem : problems()) {
        SCOPED_TRACE(to_string(problem));
        const TrialOperands operands(problem);
        KernelTrial reference(operands, products::plan(problem, "reference"));
        reference.run();
        std::vector<float> out(reference.out().begin(), reference.out().end());
        const Comparison same = spot_check(operands, out, 1e-5);
        EXPECT_TRUE(same.ok()) << same.describe();
        EXPECT_FALSE(spot_check(operands, std::vector<float>(out.size()), 1e-5).ok());
        EXPECT_FALSE(spot_check(operands,
                                std::vector<float>(out.size(), std::numeric_limits<float>::quiet_NaN()), 1e-5)
                         .ok());
        for (float& value : out) value *= 1.001F;
        EXPECT_FALSE(spot_check(operands, out, 1e-5).ok());
    }
}

TEST(SpotCheck, ReadsMapsWithChannelsInTheLanes) {
    constexpr Layout channels{Layout::Lanes::channels, 16};
    const products::Conv conv{
        .n = 3, .c = 32, .h = 6, .w = 5, .k = 48, .r = 3, .s = 3, .pad_top = 1, .pad_left = 1};
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        Problem problem{conv, stage, NmOperand{Operand::weights, {2, 8}}, 16, products::Lanes::channels};
        const TrialOperands operands(problem);
        problem.lanes = products::Lanes::images, problem.block = 1;
        TrialOperands plain(problem);
        const Shape src{conv.n, conv.c, conv.h, conv.w}, dst{conv.n, conv.k, conv.out_h(), conv.out_w()};
        convert(operands.src.data(), channels, plain.src.data(), plain_layout, src, sizeof(float));
        convert(operands.diff_dst.data(), channels, plain.diff_dst.data(), plain_layout, dst, sizeof(float));
        KernelTrial reference(plain, products::plan(problem, "reference"));
        reference.run();
        std::vector<float> out(reference.out().size());
        convert(reference.out().data(), plain_layout, out.data(), channels, stage == Stage::ff ? dst : src,
                sizeof(float));
        const Comparison same = spot_check(operands, out, 1e-5);
        EXPECT_TRUE(same.ok()) << same.describe();
        EXPECT_FALSE(spot_check(operands, reference.out(), 1e-5).ok());
    }
}

}  // namespace
}  // namespace enmesh::cpu
