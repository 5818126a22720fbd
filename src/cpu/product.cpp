#include "cpu/product.hpp"

#include <algorithm>

#include "cpu/channel_product.hpp"
#include "cpu/matrix_product.hpp"
#include "cpu/measure.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/products/product.hpp"
#include "products/dispatch.hpp"

namespace enmesh::cpu {
namespace {

products::Problem problem_of(Machine& machine, const ConvolutionCommand& c, int block) {
    products::Problem problem{.conv = c.conv, .stage = c.stage};
    problem.block = block;
    const auto sparse = [&](int slot) { return slot >= 0 ? machine.slot(slot).type.nm() : nullptr; };
    if (const NmSparsity* const weights = sparse(c.weights)) {
        problem.sparse = products::Operand::weights;
        problem.pattern = weights->pattern;
    } else if (const NmSparsity* const gradient = sparse(c.diff_dst)) {
        problem.sparse = products::Operand::diff_dst;
        problem.pattern = gradient->pattern;
    }
    return problem;
}

/// What the cache says, if this build knows that kernel and it still serves the problem: an entry is a hint.
std::string cached_kernel(Machine& machine, const std::string& product, const products::Problem& problem) {
    std::string kernel = machine.cache().find(product);
    if (kernel.empty()) return "";
    for (const products::Candidate& candidate : kernel_candidates(problem)) {
        if (candidate.name == kernel && candidate.declined.empty()) return kernel;
    }
    return "";
}

struct Choice {
    std::string kernel;  ///< "" for the default order
    std::string_view why;
};

Choice choose_kernel(Machine& machine, const products::Problem& problem) {
    const std::string product = products::to_string(problem);
    const auto& planned = machine.options().plan.kernels;
    if (const auto found = planned.find(product); found != planned.end())
        return {found->second, "named by the kernel plan"};
    if (machine.options().choice == KernelChoice::defaults) return {};
    const bool weights_change = machine.step().trains();
    const std::string measured = weights_change ? product : product + " prepared once";
    if (const std::string kernel = cached_kernel(machine, measured, problem); !kernel.empty())
        return {kernel, "measured before and cached"};
    if (machine.options().choice == KernelChoice::cached) return {};
    products::say_dispatch(product, "every kernel that accepts is measured");
    const std::string kernel = fastest_kernel(problem, weights_change);
    machine.cache().remember(measured, kernel);
    return {kernel, "measured as the fastest"};
}

/// plan_kernel looks at the named kernel alone, so what the others said is told here.
void say_choice(const products::Problem& problem, const Choice& choice) {
    if (choice.kernel.empty() || !products::verbose_dispatch()) return;
    const std::string product = products::to_string(problem);
    for (const products::Candidate& candidate : kernel_candidates(problem)) {
        if (!candidate.declined.empty() && candidate.name != choice.kernel)
            products::say_dispatch(product,
                                   fmt::format("{} declines: {}", candidate.name, candidate.declined));
    }
    products::say_dispatch(product, fmt::format("{} was {}", choice.kernel, choice.why));
}

std::unique_ptr<products::Product> plan_product(Machine& machine, const products::Problem& problem) {
    if (const auto& provider = machine.options().products; provider != nullptr)
        return provider->plan(problem);
    const Choice choice = choose_kernel(machine, problem);
    say_choice(problem, choice);
    return plan_kernel(problem, choice.kernel);
}

void add_ours(Machine& machine, const Node& node, const ConvolutionCommand& c, int block) {
    const products::Problem problem = problem_of(machine, c, block);
    const std::shared_ptr<products::Product> plan = plan_product(machine, problem);
    machine.plan().kernels[products::to_string(problem)] = plan->kernel();
    const size_t workspace = machine.book(plan->workspace_bytes());
    const std::span<std::byte> prepared = machine.keep(plan->prepared_bytes());
    const bool packed_gradient = problem.sparse == products::Operand::diff_dst;
    const bool packed_weights = problem.sparse == products::Operand::weights;
    machine.add(
        node, kind_of(c.stage), operand_slots(c), {c.out},
        [&machine, plan, c, workspace, prepared, packed_gradient](const RunContext&) {
            products::Arguments arguments;
            products::PackedView gradient;
            if (c.src >= 0) arguments.src = machine.f32(c.src);
            if (packed_gradient) {
                gradient = machine.packed(c.diff_dst).view();
                arguments.packed_diff_dst = &gradient;
            } else if (c.diff_dst >= 0) {
                arguments.diff_dst = machine.f32(c.diff_dst);
            }
            arguments.prepared = prepared;
            arguments.out = machine.f32(c.out);
            if (c.bias >= 0) arguments.epilogue.bias = machine.f32(c.bias);
            arguments.epilogue.relu = c.relu;
            arguments.workspace = {machine.workspace(workspace), plan->workspace_bytes()};
            plan->run(arguments);
        },
        std::string(plan->kernel()));
    machine.last_command().filled_in = plan->filled_in();
    if (c.weights < 0) return;
    machine.reserve_rounding(c.conv.weights_size());
    prepare_with(machine, c.weights, [&machine, plan, c, prepared, packed_weights] {
        if (packed_weights) {
            plan->prepare(machine.rounded(machine.packed(c.weights).view()), prepared);
        } else {
            const auto weights = static_cast<size_t>(plan->problem().conv.weights_size());
            plan->prepare(machine.rounded(std::span<const float>(machine.f32(c.weights), weights)), prepared);
        }
    });
}

}  // namespace

std::vector<int> operand_slots(const ConvolutionCommand& c) {
    std::vector<int> slots;
    for (const int slot : {c.src, c.diff_dst, c.weights, c.bias}) {
        if (slot >= 0) slots.push_back(slot);
    }
    return slots;
}

Kind kind_of(products::Stage stage) {
    switch (stage) {
        case products::Stage::ff:
            return Kind::FF;
        case products::Stage::bp:
            return Kind::BP;
        case products::Stage::wg:
            return Kind::WG;
    }
    return Kind::other;
}

std::string choose_by_name(Machine& machine, const std::string& product,
                           const std::vector<std::string>& names,
                           const std::function<Trials()>& make_trials) {
    const auto known = [&](const std::string& name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    const auto& planned = machine.options().plan.kernels;
    std::string name = names.front();
    if (const auto found = planned.find(product); found != planned.end() && known(found->second)) {
        name = found->second;
    } else if (machine.options().choice != KernelChoice::defaults) {
        const std::string measured = machine.step().trains() ? product : product + " prepared once";
        if (const std::string cached = machine.cache().find(measured); known(cached)) {
            name = cached;
        } else if (machine.options().choice == KernelChoice::measured) {
            name = names[fastest_of(make_trials())];
            machine.cache().remember(measured, name);
        }
    }
    machine.plan().kernels[product] = name;
    return name;
}

void prepare_with(Machine& machine, int weights, std::function<void()> prepare) {
    Command& command = machine.last_command();
    command.prepare = std::move(prepare);
    command.prepare_each_run = !machine.slot(machine.root(weights)).resident;
}

products::Conv geometry(const Conv2d& op, const Shape& src, const Shape& weights) {
    return {.n = src[0],
            .c = src[1],
            .h = src[2],
            .w = src[3],
            .k = weights[0],
            .r = weights[2],
            .s = weights[3],
            .stride_h = op.stride[0],
            .stride_w = op.stride[1],
            .pad_top = op.padding[0],
            .pad_left = op.padding[1],
            .pad_bottom = op.padding[2],
            .pad_right = op.padding[3],
            .dilation_h = op.dilation[0],
            .dilation_w = op.dilation[1],
            .groups = op.groups};
}

void add_convolution(Machine& machine, const Node& node, const ConvolutionCommand& command) {
    if (machine.map_layout().lanes == Layout::Lanes::images)
        return add_ours(machine, node, command, machine.map_layout().block);
    add_channel_product(machine, node, command);
}

void add_matrix_product(Machine& machine, const Node& node, const ConvolutionCommand& command) {
    add_ours(machine, node, command, 1);
}

}  // namespace enmesh::cpu
