#include "cpu/product.hpp"

#include "cpu/matrix_product.hpp"
#include "cpu/measure.hpp"
#include "cpu/onednn.hpp"
#include "cpu/permuted.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/products/product.hpp"
#include "products/dispatch.hpp"

namespace enmesh::cpu {
namespace {

std::vector<int> operands(const ConvolutionCommand& c) {
    std::vector<int> slots;
    for (const int slot : {c.src, c.diff_dst, c.weights, c.bias}) {
        if (slot >= 0) slots.push_back(slot);
    }
    return slots;
}

/// The maps on either side of a product: what it reads lies as its slot says, what it writes as the network's
/// maps do.
std::pair<Layout, Layout> map_layouts(const Machine& machine, const ConvolutionCommand& c) {
    const auto of = [&](int slot) { return slot >= 0 ? machine.slot(slot).layout : machine.map_layout(); };
    return {of(c.src), of(c.diff_dst)};
}

/// Plans in the network's layout; where the library only has its reference for WG there (few input channels),
/// in plain NCHW, for which it has a product by im2col.
std::shared_ptr<DnnlConvolution> plan_onednn(Machine& machine, ConvolutionCommand& c) {
    const auto [src, dst] = map_layouts(machine, c);
    std::shared_ptr<DnnlConvolution> plan = plan_convolution(c.stage, c.conv, src, dst, c.bias >= 0);
    if (c.stage != products::Stage::wg || plan->kernel().find("ref") == std::string::npos) return plan;
    const Layout plain = plain_layout.of(machine.float_element());
    c.src = machine.in_layout(c.src, plain);
    c.diff_dst = machine.in_layout(c.diff_dst, plain);
    return plan_convolution(c.stage, c.conv, plain, plain, false);
}

bool reads_bf16(const Machine& machine, const ConvolutionCommand& c) {
    return machine.slot(c.src >= 0 ? c.src : c.diff_dst).layout.element == Layout::Element::bf16;
}

/// Dense KCRS weights as oneDNN is to prepare them: rounded, unless the library rounds them itself; unpacked,
/// zeros filled in, where they are N:M.
std::span<const float> dense_weights(Machine& machine, const ConvolutionCommand& c, bool library_rounds) {
    const auto size = static_cast<size_t>(c.conv.weights_size());
    if (machine.slot(c.weights).type.dense()) {
        const std::span<const float> weights(machine.f32(c.weights), size);
        return library_rounds ? weights : machine.rounded(weights);
    }
    const std::span<float> filled_in = machine.rounding_memory().first(size);
    products::unpack_weights(c.conv, c.stage, machine.packed(c.weights).view(), filled_in);
    return library_rounds ? filled_in : machine.rounded(filled_in);
}

void add_onednn(Machine& machine, const Node& node, ConvolutionCommand c) {
    const std::shared_ptr<DnnlConvolution> plan = plan_onednn(machine, c);
    const bool library_rounds = reads_bf16(machine, c);
    const size_t workspace = machine.book(plan->workspace_bytes());
    const std::span<std::byte> prepared = machine.keep(plan->prepared_bytes());
    machine.add(
        node, kind_of(c.stage), operands(c), {c.out},
        [&machine, plan, c, workspace, prepared](const RunContext&) {
            const auto read = [&](int slot) { return slot >= 0 ? machine.data(slot) : nullptr; };
            plan->run({read(c.src), read(c.diff_dst), static_cast<const float*>(read(c.bias)),
                       prepared.data(), machine.f32(c.out), machine.workspace(workspace)});
        },
        plan->kernel());
    if (c.weights < 0) return;
    machine.last_command().filled_in = !machine.slot(c.weights).type.dense();
    machine.reserve_rounding(c.conv.weights_size());
    prepare_with(machine, c.weights, [&machine, plan, c, prepared, library_rounds] {
        plan->prepare(dense_weights(machine, c, library_rounds).data(), prepared.data());
    });
}

/// oneDNN's product of the same maps, for comparison with an N:M one.
std::function<void()> dense_rival(Machine& machine, const ConvolutionCommand& c) {
    struct Operands {
        Buffer weights, maps, bias, prepared, out, workspace;
    };
    const auto [src, dst] = map_layouts(machine, c);
    const std::shared_ptr<DnnlConvolution> plan = plan_convolution(c.stage, c.conv, src, dst, c.bias >= 0);
    const bool ff = c.stage == products::Stage::ff;
    const auto operands = std::make_shared<Operands>();
    operands->weights = random_floats(c.conv.weights_size());
    operands->maps = random_bf16(ff ? c.conv.src_size() : c.conv.dst_size());
    operands->bias = random_floats(c.conv.k);
    operands->prepared = Buffer(plan->prepared_bytes());
    operands->out = Buffer(ff ? plan->dst_bytes() : plan->src_bytes());
    operands->workspace = Buffer(plan->workspace_bytes());
    const bool weights_change = machine.step().trains();
    const auto prepare = [plan, operands] {
        plan->prepare(operands->weights.as<float>().data(), operands->prepared.as<std::byte>().data());
    };
    prepare();
    return [plan, operands, prepare, weights_change, ff] {
        if (weights_change) prepare();
        plan->run({ff ? operands->maps.data() : nullptr, ff ? nullptr : operands->maps.data(),
                   operands->bias.as<float>().data(), operands->prepared.as<std::byte>().data(),
                   operands->out.as<float>().data(), operands->workspace.as<std::byte>().data()});
    };
}

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
        node, kind_of(c.stage), operands(c), {c.out},
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
    const bool permutable =
        command.weights >= 0 && !machine.slot(command.weights).type.dense() && reads_bf16(machine, command);
    const auto rival = [&] { return dense_rival(machine, command); };
    if (permutable && add_permuted(machine, node, command, rival)) return;
    add_onednn(machine, node, command);
}

void add_matrix_product(Machine& machine, const Node& node, const ConvolutionCommand& command) {
    add_ours(machine, node, command, 1);
}

}  // namespace enmesh::cpu
