#include "cpu/channel_product.hpp"

#include "cpu/measure.hpp"
#include "cpu/onednn.hpp"
#include "cpu/permuted.hpp"
#include "products/dispatch.hpp"

namespace enmesh::cpu {
namespace {

/// The maps on either side of a product: what it reads lies as its slot says, what it writes as the network's
/// maps do.
std::pair<Layout, Layout> map_layouts(const Machine& machine, const ConvolutionCommand& c) {
    const auto of = [&](int slot) { return slot >= 0 ? machine.slot(slot).layout : machine.map_layout(); };
    return {of(c.src), of(c.diff_dst)};
}

bool reads_bf16(const Machine& machine, const ConvolutionCommand& c) {
    return machine.slot(c.src >= 0 ? c.src : c.diff_dst).layout.element == Layout::Element::bf16;
}

/// One trial of a plan on random operands; of N:M weights with their zeros filled in, if they have a pattern.
std::function<void()> trial(const std::shared_ptr<DnnlConvolution>& plan, const ConvolutionCommand& c,
                            const std::pair<Layout, Layout>& layouts, bool weights_change,
                            const std::optional<Pattern>& filled_in = std::nullopt) {
    struct Operands {
        products::Packed packed;
        Buffer weights, src, dst, bias, prepared, workspace;
    };
    const auto map = [](Layout layout, size_t bytes) {
        if (layout.element == Layout::Element::bf16)
            return random_bf16(static_cast<int64_t>(bytes / sizeof(uint16_t)));
        return random_floats(static_cast<int64_t>(bytes / sizeof(float)));
    };
    const auto operands = std::make_shared<Operands>();
    operands->weights = random_floats(c.conv.weights_size());
    operands->src = map(layouts.first, plan->src_bytes());
    operands->dst = map(layouts.second, plan->dst_bytes());
    operands->bias = random_floats(c.conv.k);
    operands->prepared = Buffer(plan->prepared_bytes());
    operands->workspace = Buffer(plan->workspace_bytes());
    const products::Stage stage = c.stage;
    if (filled_in)
        operands->packed = products::pack_weights(c.conv, stage, *filled_in, operands->weights.as<float>());
    const auto prepare = [plan, operands, conv = c.conv, stage, filled_in] {
        if (filled_in)
            products::unpack_weights(conv, stage, operands->packed.view(), operands->weights.as<float>());
        plan->prepare(operands->weights.as<float>().data(), operands->prepared.as<std::byte>().data());
    };
    if (stage != products::Stage::wg) prepare();
    return [plan, operands, prepare, stage, weights_change] {
        if (weights_change && stage != products::Stage::wg) prepare();
        Buffer& out = stage == products::Stage::ff   ? operands->dst
                      : stage == products::Stage::bp ? operands->src
                                                     : operands->weights;
        plan->run({operands->src.data(), operands->dst.data(), operands->bias.as<float>().data(),
                   operands->prepared.as<std::byte>().data(), out.as<float>().data(),
                   operands->workspace.as<std::byte>().data()});
    };
}

/// Winograd or direct convolution, where the library has both: as planned, as measured, else Winograd.
std::optional<DnnlAlgorithm> choose_algorithm(Machine& machine, const ConvolutionCommand& c,
                                              const std::pair<Layout, Layout>& layouts) {
    if (!has_winograd(c.stage, c.conv, layouts.first, layouts.second)) return std::nullopt;
    const std::string product =
        "oneDNN " + products::to_string(products::Problem{.conv = c.conv, .stage = c.stage});
    const std::vector<std::pair<std::string, DnnlAlgorithm>> known{{"winograd", DnnlAlgorithm::winograd},
                                                                   {"direct", DnnlAlgorithm::direct}};
    const auto trials = [&] {
        Trials each;
        for (const auto& [name, algorithm] : known) {
            each.push_back(trial(
                plan_convolution(c.stage, c.conv, layouts.first, layouts.second, c.bias >= 0, algorithm), c,
                layouts, machine.step().trains()));
        }
        return each;
    };
    const std::string chosen = choose_by_name(machine, product, {known[0].first, known[1].first}, trials);
    return chosen == known[0].first ? known[0].second : known[1].second;
}

/// Plans in the network's layout; where the library only has its reference for WG there (few input channels),
/// in plain NCHW, for which it has a product by im2col.
std::shared_ptr<DnnlConvolution> plan_onednn(Machine& machine, ConvolutionCommand& c) {
    const auto layouts = map_layouts(machine, c);
    std::shared_ptr<DnnlConvolution> plan = plan_convolution(
        c.stage, c.conv, layouts.first, layouts.second, c.bias >= 0, choose_algorithm(machine, c, layouts));
    if (c.stage != products::Stage::wg || plan->kernel().find("ref") == std::string::npos) return plan;
    const Layout plain = plain_layout.of(machine.float_element());
    c.src = machine.in_layout(c.src, plain);
    c.diff_dst = machine.in_layout(c.diff_dst, plain);
    return plan_convolution(c.stage, c.conv, plain, plain, false);
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
        node, kind_of(c.stage), operand_slots(c), {c.out},
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

}  // namespace

void add_channel_product(Machine& machine, const Node& node, const ConvolutionCommand& c) {
    const bool permutable = c.weights >= 0 && !machine.slot(c.weights).type.dense() && reads_bf16(machine, c);
    const auto rival = [&] {
        const auto layouts = map_layouts(machine, c);
        return trial(plan_convolution(c.stage, c.conv, layouts.first, layouts.second, c.bias >= 0), c,
                     layouts, machine.step().trains(), machine.slot(c.weights).type.nm()->pattern);
    };
    if (permutable && add_permuted(machine, node, c, rival)) return;
    add_onednn(machine, node, c);
}

}  // namespace enmesh::cpu
