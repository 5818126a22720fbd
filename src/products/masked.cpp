// A dense kernel on N:M weights with their zeros filled in: what a layer falls back to where skipping the
// zeros does not pay. Never the first choice; measurement decides.

#include <cstring>

#include "enmesh/base/error.hpp"
#include "products/kernels.hpp"

namespace enmesh::products {
namespace {

Problem without_sparsity(Problem problem) {
    problem.sparse = Operand::none;
    problem.pattern = {};
    return problem;
}

class Masked final : public Product {
  public:
    Masked(const Problem& problem, std::unique_ptr<Product> dense)
        : Product(problem), dense_(std::move(dense)) {}

    std::string_view kernel() const override { return dense_->kernel(); }
    bool filled_in() const override { return true; }
    size_t workspace_bytes() const override { return dense_->workspace_bytes(); }
    /// The dense kernel's form, then the weights in KCRS, which preparing it reads.
    size_t prepared_bytes() const override { return inner_bytes() + weights_bytes(); }

    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override {
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        const Conv& conv = problem().conv;
        const std::span<float> expanded(reinterpret_cast<float*>(prepared.data() + inner_bytes()),
                                        static_cast<size_t>(conv.weights_size()));
        unpack_weights(conv, problem().stage, weights, expanded);
        dense_->prepare(std::span<const float>(expanded), prepared.first(inner_bytes()));
    }

    void run(const Arguments& arguments) const override { dense_->run(arguments); }

  private:
    size_t inner_bytes() const { return (dense_->prepared_bytes() + 63) / 64 * 64; }
    size_t weights_bytes() const {
        return static_cast<size_t>(problem().conv.weights_size()) * sizeof(float);
    }

    std::unique_ptr<Product> dense_;
};

}  // namespace

std::string decline_masked_winograd(const Problem& problem, const MicroKernels& micro) {
    return decline_winograd(without_sparsity(problem), micro);
}

std::unique_ptr<Product> make_masked_winograd(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<Masked>(problem, make_winograd(without_sparsity(problem), micro));
}

std::string decline_masked_dense(const Problem& problem, const MicroKernels& micro) {
    return decline_dense(without_sparsity(problem), micro);
}

std::unique_ptr<Product> make_masked_dense(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<Masked>(problem, make_dense(without_sparsity(problem), micro));
}

}  // namespace enmesh::products
