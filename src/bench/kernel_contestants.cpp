#include "bench/kernel_contestants.hpp"

#include <algorithm>
#include <memory>

#include "bench/bf16_contestants.hpp"
#include "cpu/measure.hpp"
#include "cpu/onednn.hpp"
#include "cpu/spot_check.hpp"
#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cli {
namespace {

using products::Conv;
using products::Operand;
using products::Problem;
using products::Stage;

/// Winograd's transforms cost digits, and so do sums over a batch's pixels.
double tolerance_of(const Problem& problem, const std::string& kernel) {
    return kernel == "winograd" || problem.stage == Stage::wg ? 1e-4 : 1e-5;
}

/// The kernel against the reference on the same kind of shape, cut down to what the reference does quickly.
void check_small(Problem problem, const std::string& kernel) {
    Conv& conv = problem.conv;
    conv.n = std::min<int64_t>(conv.n, problem.block == 1 ? 12 : problem.block);
    conv.h = std::min<int64_t>(conv.h, 16);
    conv.w = std::min<int64_t>(conv.w, 16);
    if (conv.groups == 1) {
        conv.c = std::min<int64_t>(conv.c, 64);
        conv.k = std::min<int64_t>(conv.k, 64);
    }
    const cpu::TrialOperands operands(problem);
    cpu::KernelTrial fast(operands, kernel), reference(operands, "reference");
    fast.run();
    reference.run();
    const Comparison same = compare(fast.out(), reference.out(), tolerance_of(problem, kernel));
    if (!same.ok()) fail("{} is wrong: {}: {}", kernel, to_string(problem), same.describe());
}

/// One of our kernels that accepts the problem, checked: all of a small product, places of the one that is
/// timed.
Contestant our_contestant(const Problem& problem, const std::string& kernel) {
    check_small(problem, kernel);
    const auto operands = std::make_shared<cpu::TrialOperands>(problem);
    const auto trial = std::make_shared<cpu::KernelTrial>(*operands, kernel);
    trial->run();
    const Comparison same = cpu::spot_check(*operands, trial->out(), tolerance_of(problem, kernel));
    if (!same.ok()) fail("{} is wrong: {}: {}", kernel, to_string(problem), same.describe());
    Contestant contestant;
    const bool sparse = problem.sparse != Operand::none;
    contestant.name = fmt::format("{} {}", sparse ? to_string(problem.pattern) : "dense", kernel);
    contestant.kind = sparse ? Contestant::Kind::sparse : Contestant::Kind::dense;
    if (sparse) contestant.pattern = problem.pattern;
    contestant.multiply_adds = problem.multiply_adds();
    contestant.run = [operands, trial] { trial->run(); };
    contestant.out = [trial] { return trial->out(); };
    return contestant;
}

Contestant onednn_contestant(const std::string& name, const Conv& conv, std::function<void()> run,
                             const std::shared_ptr<Buffer>& out) {
    Contestant contestant;
    contestant.name = name;
    contestant.multiply_adds = conv.multiply_adds();
    contestant.run = std::move(run);
    contestant.out = [out] { return std::as_const(*out).as<const float>(); };
    return contestant;
}

std::shared_ptr<Buffer> shared_floats(size_t bytes) {
    return std::make_shared<Buffer>(cpu::random_floats(static_cast<int64_t>(bytes / sizeof(float))));
}

void add_onednn_convolutions(const Conv& conv, Stage stage, std::vector<Contestant>& contestants) {
    for (const auto& [name, algorithm] : {std::pair{"oneDNN direct", cpu::DnnlAlgorithm::direct},
                                          std::pair{"oneDNN winograd", cpu::DnnlAlgorithm::winograd}}) {
        const std::shared_ptr<cpu::DnnlConvolution> plan = cpu::plan_contestant(stage, conv, algorithm);
        if (!plan) continue;
        const auto src = shared_floats(plan->src_bytes()), dst = shared_floats(plan->dst_bytes());
        const auto weights = shared_floats(static_cast<size_t>(conv.weights_size()) * sizeof(float));
        const auto prepared = std::make_shared<Buffer>(plan->prepared_bytes());
        const auto workspace = std::make_shared<Buffer>(plan->workspace_bytes());
        if (stage != Stage::wg) plan->prepare(weights->as<float>().data(), prepared->as<std::byte>().data());
        const auto out = stage == Stage::ff ? dst : stage == Stage::bp ? src : weights;
        contestants.push_back(onednn_contestant(
            name, conv,
            [=] {
                plan->run({src->as<float>().data(), dst->as<float>().data(), nullptr,
                           prepared->as<std::byte>().data(), out->as<float>().data(),
                           workspace->as<std::byte>().data()});
            },
            out));
    }
}

void add_onednn_gemm(const Conv& conv, Stage stage, std::vector<Contestant>& contestants) {
    const auto src = shared_floats(static_cast<size_t>(conv.src_size()) * sizeof(float));
    const auto dst = shared_floats(static_cast<size_t>(conv.dst_size()) * sizeof(float));
    const auto weights = shared_floats(static_cast<size_t>(conv.weights_size()) * sizeof(float));
    const int64_t n = conv.n, c = conv.c, k = conv.k;
    const auto out = stage == Stage::ff ? dst : stage == Stage::bp ? src : weights;
    contestants.push_back(onednn_contestant(
        "oneDNN gemm", conv,
        [=] {
            float* const x = src->as<float>().data();
            float* const y = dst->as<float>().data();
            float* const w = weights->as<float>().data();
            if (stage == Stage::ff) cpu::gemm(false, true, n, k, c, x, c, w, c, 0, y, k);
            if (stage == Stage::bp) cpu::gemm(false, false, n, c, k, y, k, w, c, 0, x, c);
            if (stage == Stage::wg) cpu::gemm(true, false, k, c, n, y, k, x, c, 0, w, c);
        },
        out));
}

}  // namespace

std::vector<Contestant> contestants_of(const KernelMatch& match, DType dtype) {
    if (dtype == DType::bf16) return bf16_contestants_of(match);
    std::vector<Contestant> contestants;
    const Conv& conv = match.conv;
    const Stage stage = match.stage;
    if (match.linear)
        add_onednn_gemm(conv, stage, contestants);
    else
        add_onednn_convolutions(conv, stage, contestants);
    const int block = match.linear ? 1 : products::best_block(conv.n);
    const Problem dense{conv, stage, Operand::none, {}, block};
    for (const products::Candidate& candidate : products::candidates(dense)) {
        if (candidate.declined.empty() && candidate.name != "reference")
            contestants.push_back(our_contestant(dense, candidate.name));
    }
    for (const Pattern pattern : match.patterns) {
        Problem sparse = dense;
        sparse.pattern = pattern;
        sparse.sparse = stage == Stage::wg ? Operand::diff_dst : Operand::weights;
        if (stage != Stage::wg && sparse.reduction() % sparse.pattern.m != 0) continue;
        // The list also has dense kernels to fall back to: those stand above already.
        const std::unique_ptr<products::Product> first = products::plan(sparse);
        if (!first->filled_in() && first->kernel() != "reference")
            contestants.push_back(our_contestant(sparse, std::string(first->kernel())));
    }
    return contestants;
}

}  // namespace enmesh::cli
