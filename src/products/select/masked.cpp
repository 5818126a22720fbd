#include "products/select/masked.hpp"

#include "enmesh/products/select.hpp"

namespace enmesh::products {
namespace {

constexpr size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/// A dense kernel on an N:M operand with its zeros filled in: what a layer falls back to where skipping the
/// zeros does not pay, or cannot be done with images in the lanes (a gradient that is sparse along its
/// channels).
class Masked final : public Product {
  public:
    Masked(const Problem& problem, std::unique_ptr<Product> dense)
        : Product(problem), dense_(std::move(dense)), weights_(problem.sparse() == Operand::weights) {}

    std::string_view kernel() const override { return dense_->kernel(); }
    bool filled_in() const override { return true; }
    /// The dense kernel's, then the filled-in operand: weights in KCRS beside what prepare() makes of them,
    /// diff_dst in the workspace.
    size_t workspace_bytes() const override {
        if (weights_) return dense_->workspace_bytes();
        return gradient_at() + static_cast<size_t>(problem().conv.dst_size()) * sizeof(float);
    }
    size_t prepared_bytes() const override {
        if (!weights_) return dense_->prepared_bytes();
        return weights_at() + static_cast<size_t>(problem().conv.weights_size()) * sizeof(float);
    }

    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override {
        if (!weights_) return Product::prepare(weights, prepared);
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        const Conv& conv = problem().conv;
        const std::span<float> expanded(reinterpret_cast<float*>(prepared.data() + weights_at()),
                                        static_cast<size_t>(conv.weights_size()));
        unpack_weights(conv, problem().stage, weights, expanded);
        dense_->prepare(std::span<const float>(expanded), prepared.first(weights_at()));
    }
    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        if (weights_) return Product::prepare(weights, prepared);
        dense_->prepare(weights, prepared);
    }

    void run(const Arguments& arguments) const override {
        if (weights_) return dense_->run(arguments);
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        auto* const expanded = reinterpret_cast<float*>(arguments.workspace.data() + gradient_at());
        unpack_diff_dst(problem(), *arguments.packed_diff_dst, expanded);
        Arguments dense = arguments;
        dense.packed_diff_dst = nullptr;
        dense.diff_dst = expanded;
        dense_->run(dense);
    }

  private:
    size_t weights_at() const { return whole_lines(dense_->prepared_bytes()); }
    size_t gradient_at() const { return whole_lines(dense_->workspace_bytes()); }

    std::unique_ptr<Product> dense_;
    bool weights_;
};

}  // namespace

std::unique_ptr<Product> make_masked(const Problem& problem, std::unique_ptr<Product> dense) {
    return std::make_unique<Masked>(problem, std::move(dense));
}

}  // namespace enmesh::products
