#include "enmesh/bench/kernel_contestants.hpp"

#include <algorithm>
#include <memory>

#include "enmesh/base/error.hpp"
#include "enmesh/products/trial.hpp"

namespace enmesh::bench {
namespace {

using products::Conv;
using products::Kernel;
using products::KernelTrial;
using products::Lanes;
using products::Operand;
using products::Problem;
using products::Properties;
using products::Stage;
using products::TrialOperands;

/// Winograd's transforms cost digits, and so do sums over a batch's pixels and bfloat16 operands.
double tolerance_of(const Problem& problem, const Properties& properties) {
    const bool loose =
        properties.transforms || problem.stage == Stage::wg || problem.numbers == products::bf16_numbers;
    return loose ? 1e-4 : 1e-5;
}

/// The kernel against the reference on the same kind of shape, cut down to what the reference does quickly.
/// Nothing where there is no reference (maps with channels in the lanes, rows, bfloat16) or the kernel
/// declines the smaller shape.
void check_small(const products::KernelList& kernels, const Kernel& kernel, Problem problem) {
    Conv& conv = problem.conv;
    conv.n = std::min<int64_t>(conv.n, problem.block == 1 ? 12 : problem.block);
    conv.h = std::min<int64_t>(conv.h, 16);
    conv.w = std::min<int64_t>(conv.w, 16);
    if (conv.groups == 1) {
        conv.c = std::min<int64_t>(conv.c, 64);
        conv.k = std::min<int64_t>(conv.k, 64);
    }
    const std::vector<const Kernel*> accepting = products::accepting(kernels, problem);
    if (accepting.empty() || !kernel.declines(problem, {}).empty()) return;
    const Kernel& oracle = *accepting.back();
    if (!oracle.properties(problem, {}).oracle) return;
    const TrialOperands operands(problem);
    KernelTrial fast(operands, kernel.plan(problem, {})), reference(operands, oracle.plan(problem, {}));
    fast.run();
    reference.run();
    const Comparison same =
        compare(fast.out(), reference.out(), tolerance_of(problem, kernel.properties(problem, {})));
    if (!same.ok()) fail("{} is wrong: {}: {}", kernel.name, to_string(problem), same.describe());
}

std::string name_of(const Kernel& kernel, const Problem& problem) {
    if (!kernel.library.empty()) return kernel.name;
    return fmt::format("{} {}", problem.dense() ? "dense" : to_string(problem.pattern()),
                       planned_name(kernel, problem));
}

Contestant contestant(const products::KernelList& kernels, const Kernel& kernel, const Problem& problem) {
    const Properties properties = kernel.properties(problem, {});
    check_small(kernels, kernel, problem);
    const auto operands = std::make_shared<TrialOperands>(problem);
    const auto trial = std::make_shared<KernelTrial>(*operands, kernel.plan(problem, {}));
    trial->run();
    if (problem.lanes != Lanes::any) {
        const int places = problem.numbers == products::bf16_numbers ? 1024 : 256;
        const Comparison same =
            products::spot_check(*operands, trial->out(), tolerance_of(problem, properties), places);
        if (!same.ok()) fail("{} is wrong: {}: {}", kernel.name, to_string(problem), same.describe());
    }
    Contestant made;
    made.name = name_of(kernel, problem);
    made.library = kernel.library;
    made.direct = !properties.transforms;
    if (!problem.dense()) made.pattern = problem.pattern();
    made.multiply_adds = problem.multiply_adds();
    made.run = [operands, trial] { trial->run(); };
    made.out = [trial] { return trial->out(); };
    return made;
}

/// The layouts that kernels of a dense layer may be given: what a library likes best, and what ours want.
std::vector<Problem> dense_problems(const KernelMatch& match, DType dtype) {
    Problem library{.conv = match.conv, .stage = match.stage};
    library.lanes = match.linear ? Lanes::rows : Lanes::any;
    Problem ours{.conv = match.conv, .stage = match.stage};
    if (dtype == DType::bf16) {
        library.numbers = ours.numbers = products::bf16_numbers;
        ours.lanes = match.linear ? Lanes::rows : Lanes::channels;
        ours.block = match.linear ? 1 : 16;
    } else {
        ours.block = match.linear ? 1 : products::best_block(match.conv.n);
    }
    return {library, ours};
}

/// The one of these that N:M kernels read. Groups along the reduction must be whole, except positions of a
/// gradient, whose tail is dense.
std::optional<Problem> sparse_problem(const Problem& dense, Pattern pattern) {
    Problem problem = dense;
    const bool wg = dense.stage == Stage::wg;
    problem.sparsity = products::NmOperand{wg ? Operand::diff_dst : Operand::weights, pattern};
    if (!wg && problem.reduction() % pattern.m != 0) return std::nullopt;
    return problem;
}

}  // namespace

std::vector<Contestant> contestants_of(const KernelMatch& match, DType dtype,
                                       const products::KernelList& kernels) {
    std::vector<Contestant> contestants;
    std::vector<const Kernel*> seen;
    const std::vector<Problem> dense = dense_problems(match, dtype);
    for (const Problem& problem : dense) {
        for (const Kernel* const kernel : accepting(kernels, problem)) {
            if (kernel->properties(problem, {}).oracle || std::ranges::count(seen, kernel) > 0) continue;
            seen.push_back(kernel);
            contestants.push_back(contestant(kernels, *kernel, problem));
        }
    }
    for (const Pattern pattern : match.patterns) {
        const std::optional<Problem> sparse = sparse_problem(dense.back(), pattern);
        if (!sparse.has_value()) continue;
        // The list also has dense kernels to fall back to: those stand above already.
        for (const Kernel* const kernel : accepting(kernels, *sparse)) {
            if (kernel->properties(*sparse, {}).skips_zeros)
                contestants.push_back(contestant(kernels, *kernel, *sparse));
        }
    }
    return contestants;
}

}  // namespace enmesh::bench
