#include "enmesh/accel/sat/arithmetic/sat_products.hpp"

#include <vector>

#include "accel/sat/arithmetic/sat_products.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"

namespace enmesh::accel::sat {
namespace {

class SatProducts final : public ProductProvider {
  public:
    std::string name() const override { return "sat"; }

    std::unique_ptr<products::Product> plan(const products::Problem& problem) const override {
        check(problem);
        return problem.stage == products::Stage::wg ? detail::sat_weight_gradient(problem)
                                                    : detail::sat_window_product(problem);
    }

    void multiply(const MatrixArguments& a) const override {
        const auto operand = [](const float* from, bool transposed, int64_t rows, int64_t k) {
            std::vector<Half> result(static_cast<size_t>(rows * k));
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t j = 0; j < k; ++j)
                    result[static_cast<size_t>(i * k + j)] =
                        to_half(from[transposed ? j * rows + i : i * k + j]);
            return result;
        };
        const std::vector<Half> streamed = operand(a.a, a.transpose_a, a.m, a.k);
        const std::vector<Half> indexed = operand(a.b, !a.transpose_b, a.n, a.k);
        software_product(streamed, dense_operand(indexed, a.n, a.k, Pattern::max_m),
                         {a.out, static_cast<size_t>(a.m * a.n)});
    }

    void round(std::span<const float> from, std::span<float> to) const override {
        for (size_t i = 0; i < from.size(); ++i) to[i] = to_float(to_half(from[i]));
    }
};

}  // namespace

std::shared_ptr<const ProductProvider> sat_products() { return std::make_shared<SatProducts>(); }

}  // namespace enmesh::accel::sat
