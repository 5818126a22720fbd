#include "bench/bf16_contestants.hpp"

#include <memory>

#include "cpu/measure.hpp"
#include "cpu/onednn.hpp"
#include "cpu/simd/simd.hpp"
#include "cpu/spot_check.hpp"
#include "enmesh/base/error.hpp"
#include "products/permuted/permuted.hpp"

namespace enmesh::cli {
namespace {

using products::Conv;
using products::Problem;
using products::Stage;

constexpr cpu::Layout channel_maps{cpu::Layout::Lanes::channels, 16};

/// Memory for what a product reads in bfloat16 or writes in float32.
std::shared_ptr<Buffer> random_map(size_t bytes, bool bf16) {
    return std::make_shared<Buffer>(bf16 ? cpu::random_bf16(static_cast<int64_t>(bytes / sizeof(uint16_t)))
                                         : cpu::random_floats(static_cast<int64_t>(bytes / sizeof(float))));
}

Contestant contestant(std::string name, double multiply_adds, std::function<void()> run,
                      const std::shared_ptr<Buffer>& out) {
    Contestant made;
    made.name = std::move(name);
    made.multiply_adds = multiply_adds;
    made.run = std::move(run);
    made.out = [out] { return std::as_const(*out).as<const float>(); };
    return made;
}

Contestant onednn_convolution(const Conv& conv, Stage stage) {
    const std::shared_ptr<cpu::DnnlConvolution> plan =
        cpu::plan_contestant(stage, conv, cpu::DnnlAlgorithm::direct, cpu::Layout::Element::bf16);
    if (!plan) fail("oneDNN has no bfloat16 product for {}", to_string(conv));
    const auto src = random_map(plan->src_bytes(), stage != Stage::bp);
    const auto dst = random_map(plan->dst_bytes(), stage != Stage::ff);
    const auto weights = random_map(static_cast<size_t>(conv.weights_size()) * sizeof(float), false);
    const auto prepared = std::make_shared<Buffer>(plan->prepared_bytes());
    const auto workspace = std::make_shared<Buffer>(plan->workspace_bytes());
    if (stage != Stage::wg) plan->prepare(weights->as<float>().data(), prepared->as<std::byte>().data());
    const auto out = stage == Stage::ff ? dst : stage == Stage::bp ? src : weights;
    return contestant(
        "oneDNN direct", conv.multiply_adds(),
        [=] {
            plan->run({src->data(), dst->data(), nullptr, prepared->as<std::byte>().data(),
                       out->as<float>().data(), workspace->as<std::byte>().data()});
        },
        out);
}

Contestant onednn_gemm(const Conv& conv, Stage stage) {
    const int64_t n = conv.n, c = conv.c, k = conv.k;
    const cpu::MatrixShape shape = stage == Stage::ff   ? cpu::MatrixShape{false, true, n, k, c}
                                   : stage == Stage::bp ? cpu::MatrixShape{false, false, n, c, k}
                                                        : cpu::MatrixShape{true, false, k, c, n};
    const std::shared_ptr<cpu::DnnlMatmul> plan = cpu::plan_matmul(shape, false);
    const auto a = std::make_shared<Buffer>(cpu::random_bf16(shape.m * shape.k));
    const auto b = std::make_shared<Buffer>(cpu::random_bf16(shape.k * shape.n));
    const auto out = std::make_shared<Buffer>(static_cast<size_t>(shape.m * shape.n) * sizeof(float));
    const auto workspace = std::make_shared<Buffer>(plan->workspace_bytes());
    return contestant(
        "oneDNN gemm", conv.multiply_adds(),
        [=] {
            plan->run(a->as<uint16_t>().data(), b->as<uint16_t>().data(), nullptr, out->as<float>().data(),
                      workspace->as<std::byte>().data());
        },
        out);
}

Buffer narrowed(const Buffer& floats) {
    const std::span<const float> from = floats.as<float>();
    Buffer to(from.size() * sizeof(uint16_t));
    cpu::simd().to_bf16(from.data(), to.as<uint16_t>().data(), static_cast<int64_t>(from.size()));
    return to;
}

/// The permuted kernel, checked at places of its output.
Contestant permuted(const Problem& problem) {
    const std::shared_ptr<products::PermutedProduct> plan = products::plan_permuted(problem);
    const auto operands = std::make_shared<cpu::TrialOperands>(problem, cpu::TrialNumbers::bf16);
    const bool ff = problem.stage == Stage::ff;
    const auto maps = std::make_shared<Buffer>(narrowed(ff ? operands->src : operands->diff_dst));
    const auto prepared = std::make_shared<Buffer>(plan->prepared_bytes());
    const auto workspace = std::make_shared<Buffer>(plan->workspace_bytes());
    const auto out = std::make_shared<Buffer>(
        static_cast<size_t>(ff ? problem.conv.dst_size() : problem.conv.src_size()) * sizeof(float));
    plan->prepare(operands->packed.view(), prepared->as<std::byte>());
    const auto run = [=] {
        plan->run({.src = maps->as<uint16_t>().data(),
                   .prepared = prepared->as<std::byte>(),
                   .out = out->as<float>().data(),
                   .workspace = workspace->as<std::byte>()});
    };
    run();
    const Comparison same = cpu::spot_check(*operands, out->as<float>(), 1e-4, 1024, channel_maps);
    if (!same.ok()) fail("{} is wrong: {}: {}", plan->kernel(), to_string(problem), same.describe());
    Contestant made = contestant(fmt::format("{} {}", to_string(problem.pattern), plan->kernel()),
                                 problem.multiply_adds(), run, out);
    made.kind = Contestant::Kind::sparse;
    made.pattern = problem.pattern;
    return made;
}

}  // namespace

std::vector<Contestant> bf16_contestants_of(const KernelMatch& match) {
    std::vector<Contestant> contestants;
    contestants.push_back(match.linear ? onednn_gemm(match.conv, match.stage)
                                       : onednn_convolution(match.conv, match.stage));
    if (match.stage == Stage::wg) return contestants;
    for (const Pattern pattern : match.patterns) {
        const Problem problem{match.conv, match.stage, products::Operand::weights, pattern};
        if (problem.reduction() % pattern.m != 0 || !products::permuted_declines(problem).empty()) continue;
        contestants.push_back(permuted(problem));
    }
    return contestants;
}

}  // namespace enmesh::cli
