// oneDNN's convolutions as entries of the list of product kernels.

#include "cpu/onednn.hpp"
#include "cpu/onednn_kernels.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {
namespace {

using products::Lanes;
using products::Number;
using products::PlanOptions;
using products::Problem;
using products::Stage;

Layout::Element element_of(Number number) {
    return number == Number::bf16 ? Layout::Element::bf16 : Layout::Element::f32;
}

Layout layout_of(const Problem& p, bool plain, Number number) {
    if (plain || p.lanes == Lanes::plain) return plain_layout.of(element_of(number));
    return {Layout::Lanes::channels, p.block, element_of(number)};
}

Layout src_layout(const Problem& p) {
    return layout_of(p, p.plain_src, p.stage == Stage::bp ? p.numbers.out : p.numbers.a);
}

Layout dst_layout(const Problem& p) {
    const products::Numbers& n = p.numbers;
    return layout_of(p, false, p.stage == Stage::ff ? n.out : p.stage == Stage::bp ? n.a : n.b);
}

/// Null where the library has no such algorithm for it.
std::unique_ptr<DnnlConvolution> planned(const Problem& p, DnnlAlgorithm algorithm, bool bias) {
    if (p.lanes == Lanes::any) return plan_contestant(p.stage, p.conv, algorithm, element_of(p.numbers.a));
    if (algorithm == DnnlAlgorithm::winograd && !has_winograd(p.stage, p.conv, src_layout(p), dst_layout(p)))
        return nullptr;
    return plan_convolution(p.stage, p.conv, src_layout(p), dst_layout(p), bias, algorithm);
}

bool concerns(const Problem& p) {
    const bool lanes = p.lanes == Lanes::channels || p.lanes == Lanes::plain || p.lanes == Lanes::any;
    return lanes && p.sparse() != products::Operand::diff_dst;
}

class Convolution final : public products::Product {
  public:
    Convolution(const Problem& problem, std::string name, std::unique_ptr<DnnlConvolution> plan)
        : Product(problem), name_(std::move(name)), plan_(std::move(plan)) {}

    std::string_view kernel() const override { return name_; }
    std::string description() const override { return plan_->kernel(); }
    bool filled_in() const override { return !problem().dense(); }
    bool prepares_dense() const override { return true; }
    size_t workspace_bytes() const override { return plan_->workspace_bytes(); }
    size_t prepared_bytes() const override { return plan_->prepared_bytes(); }
    size_t src_bytes() const override { return plan_->src_bytes(); }
    size_t dst_bytes() const override { return plan_->dst_bytes(); }

    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        plan_->prepare(weights.data(), prepared.data());
    }

    void run(const products::Arguments& a) const override {
        if (a.epilogue.relu) fail("{}: oneDNN's convolutions have no relu", to_string(problem()));
        const auto map = [](const float* floats, const uint16_t* bits) {
            return floats != nullptr ? static_cast<const void*>(floats) : bits;
        };
        plan_->run({map(a.src, a.src_bf16), map(a.diff_dst, a.diff_dst_bf16), a.epilogue.bias,
                    a.prepared.data(), a.out, a.workspace.data()});
    }

  private:
    std::string name_;
    std::unique_ptr<DnnlConvolution> plan_;
};

std::string decline_winograd(const Problem& p, const PlanOptions& options) {
    if (!products::winograd_allowed()) return "ENMESH_WINOGRAD=0";
    return planned(p, DnnlAlgorithm::winograd, options.bias) ? "" : "oneDNN has no Winograd for it here";
}

/// A weight gradient that the library has its reference alone for (few input channels) is to be posed in plain
/// NCHW, for which it has a product by im2col.
std::string decline_direct(const Problem& p, const PlanOptions& options) {
    if (p.lanes == Lanes::plain || (p.lanes == Lanes::channels && p.stage != Stage::wg)) return "";
    const auto plan = planned(p, DnnlAlgorithm::direct, options.bias);
    if (!plan) return "oneDNN has no such product here";
    if (p.lanes == Lanes::channels && plan->reference()) return "oneDNN has its reference alone for it";
    return "";
}

/// Plans so far call the alternative to an N:M kernel on bfloat16 maps "dense".
std::string direct_planned_as(const Problem& p, const PlanOptions&) {
    return p.numbers.a == Number::bf16 && !p.dense() ? "dense" : "direct";
}

products::Kernel entry(DnnlAlgorithm algorithm) {
    const bool winograd = algorithm == DnnlAlgorithm::winograd;
    products::Kernel kernel;
    kernel.name = winograd ? "oneDNN winograd" : "oneDNN direct";
    kernel.library = "oneDNN";
    kernel.concerns = concerns;
    kernel.declines = winograd ? decline_winograd : decline_direct;
    kernel.planned_as = direct_planned_as;
    if (winograd) kernel.planned_as = [](const Problem&, const PlanOptions&) { return "winograd"; };
    kernel.plan = [algorithm, planned_as = kernel.planned_as](const Problem& p, const PlanOptions& options) {
        return std::make_unique<Convolution>(p, planned_as(p, options), planned(p, algorithm, options.bias));
    };
    kernel.properties = [winograd](const Problem&, const PlanOptions&) {
        return products::Properties{.bits_depend_on_threads = true, .transforms = winograd};
    };
    return kernel;
}

}  // namespace

products::Kernel onednn_winograd() { return entry(DnnlAlgorithm::winograd); }
products::Kernel onednn_direct() { return entry(DnnlAlgorithm::direct); }

}  // namespace enmesh::cpu
