#pragma once

#include <string>

#include "enmesh/products/kernel.hpp"

namespace enmesh::test {

/// A product kernel that only tests have: the reference's arithmetic under another name, for dense and N:M
/// products with images in the lanes. One file; the line that registers it is `list.push_back(dummy_kernel())`.
class DummyProduct final : public products::Product {
  public:
    explicit DummyProduct(const products::Problem& problem)
        : Product(problem), reference_(products::plan(problem, "reference")) {}

    std::string_view kernel() const override { return "dummy"; }
    std::string description() const override { return "dummy loops"; }
    size_t workspace_bytes() const override { return reference_->workspace_bytes(); }
    size_t prepared_bytes() const override { return reference_->prepared_bytes(); }
    void prepare(const products::PackedView& weights, std::span<std::byte> prepared) const override {
        reference_->prepare(weights, prepared);
    }
    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        reference_->prepare(weights, prepared);
    }
    void run(const products::Arguments& arguments) const override { reference_->run(arguments); }

  private:
    std::unique_ptr<products::Product> reference_;
};

inline products::Kernel dummy_kernel() {
    using products::Problem;
    return {.name = "dummy",
            .concerns = [](const Problem& p) { return p.lanes == products::Lanes::images; },
            .declines =
                [](const Problem& p, const products::PlanOptions&) {
                    return p.conv.groups > 1 ? std::string("grouped convolution") : std::string();
                },
            .plan = [](const Problem& p,
                       const products::PlanOptions&) { return std::make_unique<DummyProduct>(p); },
            .properties =
                [](const Problem& p, const products::PlanOptions&) {
                    return products::Properties{.skips_zeros = !p.dense()};
                }};
}

}  // namespace enmesh::test
