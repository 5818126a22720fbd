#include "cpu/product.hpp"

#include <algorithm>

#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/cpu/kernels.hpp"
#include "enmesh/products/trial.hpp"

namespace enmesh::cpu {
namespace {

using products::Kernel;
using products::Operand;
using products::PlanOptions;
using products::Problem;

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

std::vector<int> operand_slots(const ProductCommand& c) {
    std::vector<int> slots;
    for (const int slot : {c.src, c.diff_dst, c.weights, c.bias}) {
        if (slot >= 0) slots.push_back(slot);
    }
    return slots;
}

/// Makes a value's sparsity that of an operand. A new kind in the graph does not compile without a line here.
struct SetSparsity {
    Problem& problem;
    Operand operand;
    void operator()(std::monostate) const {}
    void operator()(const NmSparsity& nm) const {
        problem.sparsity = products::NmOperand{operand, nm.pattern};
    }
};

void set_sparsity(const Machine& machine, const ProductCommand& c, Problem& problem) {
    const auto set = [&](int slot, Operand operand) {
        if (slot >= 0) std::visit(SetSparsity{problem, operand}, machine.slot(slot).type.sparsity);
    };
    set(c.weights, Operand::weights);
    set(c.diff_dst, Operand::diff_dst);
}

/// Where the maps of a linear layer lie. With an N:M operand in float32, or with products that are not this
/// machine's own, its rows are maps of one pixel.
products::Lanes lanes_of_rows(const Machine& machine, const Problem& problem, bool bf16) {
    if (machine.options().products != nullptr) return products::Lanes::images;
    return problem.dense() || bf16 ? products::Lanes::rows : products::Lanes::images;
}

Problem pose(const Machine& machine, const ProductCommand& c) {
    const auto layout = [&](int slot) { return machine.slot(slot).layout; };
    Problem problem{.conv = c.conv, .stage = c.stage};
    set_sparsity(machine, c, problem);
    const bool bf16 = layout(c.src >= 0 ? c.src : c.diff_dst).element == Layout::Element::bf16;
    if (bf16) problem.numbers = products::bf16_numbers;
    if (c.linear) {
        problem.lanes = lanes_of_rows(machine, problem, bf16);
        return problem;
    }
    problem.block = machine.map_layout().block;
    if (machine.map_layout().lanes == Layout::Lanes::images) return problem;
    problem.lanes = products::Lanes::channels;
    problem.plain_src = c.src >= 0 && layout(c.src).plain();
    if (c.stage == products::Stage::wg && layout(c.diff_dst).plain()) {
        problem.lanes = products::Lanes::plain;
        problem.plain_src = false;
        problem.block = 1;
    }
    return problem;
}

struct Choice {
    const Kernel* kernel = nullptr;
    std::string_view why;  ///< empty for the default order
};

/// What the cache says, if this build knows that kernel and it still serves the problem: an entry is a hint.
/// Measures now where there is none and the options say so.
Choice measured_choice(Machine& machine, const std::vector<const Kernel*>& kernels, const Problem& problem,
                       const PlanOptions& options) {
    const std::string key = plan_key(problem);
    const bool weights_change = machine.step().trains();
    const std::string measured = weights_change ? key : key + " prepared once";
    const std::string cached = machine.cache().find(measured);
    for (const Kernel* const kernel : kernels) {
        if (planned_name(*kernel, problem, options) == cached) return {kernel, "measured before and cached"};
    }
    if (machine.options().choice == KernelChoice::cached) return {kernels.front(), ""};
    products::say_dispatch(key, "every kernel that accepts is measured");
    const Kernel* const fastest = fastest_kernel(kernels, problem, weights_change, options);
    machine.cache().remember(measured, planned_name(*fastest, problem, options));
    return {fastest, "measured as the fastest"};
}

/// Among kernels that accept, in default order: the only one, as planned, as cached, as measured now, the
/// first. The plan refuses what is unknown or declines.
Choice choose(Machine& machine, const std::vector<const Kernel*>& kernels, const Problem& problem,
              const PlanOptions& options) {
    if (kernels.size() == 1) return {kernels.front(), ""};
    const auto& planned = machine.options().plan.kernels;
    if (const auto found = planned.find(plan_key(problem)); found != planned.end()) {
        const Kernel* const kernel = find_planned(kernels, found->second, problem, options);
        if (kernel == nullptr) plan(machine.kernels(), problem, found->second, options);  // refuses
        return {kernel, "named by the kernel plan"};
    }
    if (machine.options().choice == KernelChoice::defaults) return {kernels.front(), ""};
    return measured_choice(machine, kernels, problem, options);
}

void say_choice(const Machine& machine, const Problem& problem, const PlanOptions& options,
                const Choice& choice) {
    if (!products::verbose_dispatch()) return;
    const std::string key = plan_key(problem);
    for (const products::Candidate& candidate : candidates(machine.kernels(), problem, options)) {
        if (!candidate.declined.empty())
            products::say_dispatch(key, fmt::format("{} declines: {}", candidate.name, candidate.declined));
    }
    if (!choice.why.empty())
        products::say_dispatch(
            key, fmt::format("{} was {}", planned_name(*choice.kernel, problem, options), choice.why));
}

/// The kernels that accept. A weight gradient in the channel layout that none serves there is posed on plain
/// maps, converted for it.
std::vector<const Kernel*> kernels_for(Machine& machine, ProductCommand& c, Problem& problem,
                                       const PlanOptions& options) {
    std::vector<const Kernel*> kernels = accepting(machine.kernels(), problem, options);
    if (kernels.empty() && problem.lanes == products::Lanes::channels && c.src >= 0 && c.diff_dst >= 0) {
        const Layout plain = plain_layout.of(machine.float_element());
        c.src = machine.in_layout(c.src, plain);
        c.diff_dst = machine.in_layout(c.diff_dst, plain);
        problem = pose(machine, c);
        kernels = accepting(machine.kernels(), problem, options);
    }
    if (kernels.empty()) refuse("{}: no kernel serves it", to_string(problem));
    return kernels;
}

/// Its choice goes into the plan where there was one.
std::shared_ptr<products::Product> plan_product(Machine& machine, ProductCommand& c) {
    Problem problem = pose(machine, c);
    if (const auto& provider = machine.options().products; provider != nullptr) {
        const std::shared_ptr<products::Product> product = provider->plan(problem);
        machine.plan().kernels[plan_key(problem)] = product->kernel();
        return product;
    }
    const PlanOptions options{.bias = c.bias >= 0};
    const std::vector<const Kernel*> kernels = kernels_for(machine, c, problem, options);
    const Choice choice = choose(machine, kernels, problem, options);
    say_choice(machine, problem, options, choice);
    if (kernels.size() > 1)
        machine.plan().kernels[plan_key(problem)] = planned_name(*choice.kernel, problem, options);
    return choice.kernel->plan(problem, options);
}

/// Rounds weights that the product reads where they lie into memory of their own.
void round_in_place(Machine& machine, const ProductCommand& c, float* rounded) {
    over_elements(c.conv.weights_size(), [&](int64_t at, int64_t count) {
        simd().round_to_bf16(machine.f32(c.weights) + at, rounded + at, count);
    });
}

/// Hands the weights to the product: rounded, unless it rounds them itself; zeros filled in, if it wants N:M
/// weights so.
void prepare_weights(Machine& machine, const ProductCommand& c, const products::Product& product,
                     std::span<std::byte> prepared) {
    const Problem& problem = product.problem();
    const bool rounds = problem.numbers.b == products::Number::bf16;
    const auto size = static_cast<size_t>(c.conv.weights_size());
    if (problem.sparse() != Operand::weights) {
        const std::span<const float> weights(machine.f32(c.weights), size);
        return product.prepare(rounds ? weights : machine.rounded(weights), prepared);
    }
    const products::PackedView packed = machine.packed(c.weights).view();
    if (!product.prepares_dense())
        return product.prepare(rounds ? packed : machine.rounded(packed), prepared);
    const std::span<float> dense = machine.rounding_memory().first(size);
    products::unpack_weights(c.conv, c.stage, packed, dense);
    product.prepare(rounds ? dense : machine.rounded(dense), prepared);
}

/// Runs when the weights have changed: after each update, or before each run of the command if the step itself
/// produces them.
void add_preparation(Machine& machine, const ProductCommand& c,
                     const std::shared_ptr<products::Product>& product, std::span<std::byte> prepared,
                     float* rounded) {
    if (c.weights < 0 || (product->weights_in_place() && rounded == nullptr)) return;
    Command& command = machine.last_command();
    command.prepare_each_run = !machine.slot(machine.root(c.weights)).resident;
    if (rounded != nullptr) {
        command.prepare = [&machine, c, rounded] { round_in_place(machine, c, rounded); };
        return;
    }
    const bool fills = product->prepares_dense() && product->problem().sparse() == Operand::weights;
    const bool rounds =
        machine.element() != Layout::Element::f32 && product->problem().numbers.b != products::Number::bf16;
    if (fills || rounds) machine.reserve_rounding(c.conv.weights_size());
    command.prepare = [&machine, c, product, prepared] { prepare_weights(machine, c, *product, prepared); };
}

products::Arguments arguments_of(Machine& machine, const ProductCommand& c, const Problem& problem) {
    products::Arguments a;
    const bool bf16 = problem.numbers.a == products::Number::bf16;
    if (c.src >= 0 && bf16) a.src_bf16 = machine.bf16(c.src);
    if (c.src >= 0 && !bf16) a.src = machine.f32(c.src);
    const bool packed = problem.sparse() == Operand::diff_dst;
    if (c.diff_dst >= 0 && !packed && bf16) a.diff_dst_bf16 = machine.bf16(c.diff_dst);
    if (c.diff_dst >= 0 && !packed && !bf16) a.diff_dst = machine.f32(c.diff_dst);
    if (c.bias >= 0) a.epilogue.bias = machine.f32(c.bias);
    a.epilogue.relu = c.relu;
    a.out = machine.f32(c.out);
    return a;
}

}  // namespace

void add_product(Machine& machine, const Node& node, ProductCommand c) {
    const std::shared_ptr<products::Product> product = plan_product(machine, c);
    const Problem problem = product->problem();
    const bool copies = product->weights_in_place() && machine.element() != Layout::Element::f32;
    const size_t rounded_bytes = copies ? static_cast<size_t>(c.conv.weights_size()) * sizeof(float) : 0;
    const size_t workspace = machine.book(product->workspace_bytes());
    const std::span<std::byte> prepared = machine.keep(product->prepared_bytes() + rounded_bytes);
    float* const rounded = copies ? reinterpret_cast<float*>(prepared.data()) : nullptr;
    const std::string description = product->description();
    machine.add(
        node, kind_of(c.stage), operand_slots(c), {c.out},
        [&machine, product, problem, c, workspace, prepared, rounded](const RunContext&) {
            products::Arguments arguments = arguments_of(machine, c, problem);
            products::PackedView gradient;
            if (problem.sparse() == Operand::diff_dst) {
                gradient = machine.packed(c.diff_dst).view();
                arguments.packed_diff_dst = &gradient;
            }
            arguments.prepared = prepared;
            if (product->weights_in_place())
                arguments.weights = rounded != nullptr ? rounded : machine.f32(c.weights);
            arguments.workspace = {machine.workspace(workspace), product->workspace_bytes()};
            product->run(arguments);
        },
        description);
    products::say_dispatch(fmt::format("{} {}", to_string(node.stage), node.layer), description);
    machine.last_command().filled_in = product->filled_in();
    add_preparation(machine, c, product, prepared, rounded);
}

}  // namespace enmesh::cpu
