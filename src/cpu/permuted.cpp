#include "cpu/permuted.hpp"

#include <memory>

#include "cpu/measure.hpp"
#include "products/dispatch.hpp"
#include "products/permuted/permuted.hpp"

namespace enmesh::cpu {
namespace {

constexpr const char* dense_kernel = "dense";

products::Problem problem_of(const Machine& machine, const ConvolutionCommand& c) {
    return {.conv = c.conv,
            .stage = c.stage,
            .sparse = products::Operand::weights,
            .pattern = machine.slot(c.weights).type.nm()->pattern};
}

/// One trial on random operands.
std::function<void()> trial(const products::Problem& problem,
                            const std::shared_ptr<products::PermutedProduct>& plan, bool weights_change) {
    struct Operands {
        products::Packed weights;
        Buffer maps, prepared, out, workspace;
    };
    const bool ff = problem.stage == products::Stage::ff;
    const auto read = static_cast<size_t>(ff ? problem.conv.src_size() : problem.conv.dst_size());
    const auto written = static_cast<size_t>(ff ? problem.conv.dst_size() : problem.conv.src_size());
    const auto operands = std::make_shared<Operands>();
    operands->weights = products::pack_weights(problem.conv, problem.stage, problem.pattern,
                                               random_floats(problem.conv.weights_size()).as<float>());
    operands->maps = random_bf16(static_cast<int64_t>(read));
    operands->prepared = Buffer(plan->prepared_bytes());
    operands->out = Buffer(written * sizeof(float));
    operands->workspace = Buffer(plan->workspace_bytes());
    const auto prepare = [plan, operands] {
        plan->prepare(operands->weights.view(), operands->prepared.as<std::byte>());
    };
    prepare();
    return [plan, operands, prepare, weights_change] {
        if (weights_change) prepare();
        plan->run({.src = operands->maps.as<uint16_t>().data(),
                   .prepared = operands->prepared.as<std::byte>(),
                   .out = operands->out.as<float>().data(),
                   .workspace = operands->workspace.as<std::byte>()});
    };
}

}  // namespace

bool add_permuted(Machine& machine, const Node& node, const ConvolutionCommand& c,
                  const MakeRival& make_rival) {
    const products::Problem problem = problem_of(machine, c);
    const std::string product = "bf16 " + products::to_string(problem);
    if (const std::string reason = products::permuted_declines(problem); !reason.empty()) {
        products::say_dispatch(product, "permuted declines: " + reason);
        return false;
    }
    const std::shared_ptr<products::PermutedProduct> plan = products::plan_permuted(problem);
    const auto trials = [&] { return Trials{trial(problem, plan, machine.step().trains()), make_rival()}; };
    const std::string kernel =
        choose_by_name(machine, product, {std::string(plan->kernel()), dense_kernel}, trials);
    products::say_dispatch(product, kernel);
    if (kernel == dense_kernel) return false;
    const int read = problem.stage == products::Stage::ff ? c.src : c.diff_dst;
    const size_t workspace = machine.book(plan->workspace_bytes());
    const std::span<std::byte> prepared = machine.keep(plan->prepared_bytes());
    machine.add(
        node, kind_of(c.stage), operand_slots(c), {c.out},
        [&machine, plan, c, read, workspace, prepared](const RunContext&) {
            plan->run({.src = machine.bf16(read),
                       .prepared = prepared,
                       .bias = c.bias >= 0 ? machine.f32(c.bias) : nullptr,
                       .out = machine.f32(c.out),
                       .workspace = {machine.workspace(workspace), plan->workspace_bytes()}});
        },
        std::string(plan->kernel()));
    prepare_with(machine, c.weights, [&machine, plan, c, prepared] {
        plan->prepare(machine.packed(c.weights).view(), prepared);
    });
    return true;
}

}  // namespace enmesh::cpu
