#include "cpu/matrix_product.hpp"

#include <algorithm>

#include "cpu/onednn.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/select.hpp"
#include "products/dispatch.hpp"

namespace enmesh::cpu {
namespace {

using products::Operand;
using products::Problem;
using products::Stage;

constexpr std::string_view gemm_name = "gemm";

/// Why gemm cannot serve it; empty if it can.
std::string decline_gemm(const Problem& problem) {
    const products::Conv& conv = problem.conv;
    if (problem.block != 1 || conv != products::linear(conv.n, conv.c, conv.k))
        return "the maps are no matrices of rows";
    if (problem.sparse == Operand::none) return "no operand is N:M";
    return {};
}

/// oneDNN's dense product of row-major matrices behind the interface of an N:M product: weights are filled in
/// once per update, a gradient in the workspace.
class Gemm final : public products::Product {
  public:
    explicit Gemm(const Problem& problem)
        : Product(problem),
          rows_(problem.conv.n),
          c_(problem.conv.c),
          k_(problem.conv.k),
          weights_(problem.sparse == Operand::weights) {}

    std::string_view kernel() const override { return gemm_name; }
    bool filled_in() const override { return true; }
    size_t workspace_bytes() const override {
        return weights_ ? 0 : static_cast<size_t>(rows_ * k_) * sizeof(float);
    }
    size_t prepared_bytes() const override {
        return problem().stage == Stage::wg ? 0 : static_cast<size_t>(c_ * k_) * sizeof(float);
    }

    void prepare(const products::PackedView& weights, std::span<std::byte> prepared) const override {
        if (!weights_) return Product::prepare(weights, prepared);
        products::unpack_weights(problem().conv, problem().stage, weights, matrix(prepared));
    }
    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        if (weights_ || problem().stage == Stage::wg) return Product::prepare(weights, prepared);
        std::ranges::copy(weights, matrix(prepared).begin());
    }

    void run(const products::Arguments& a) const override {
        const float* const weights = reinterpret_cast<const float*>(a.prepared.data());
        switch (problem().stage) {
            case Stage::ff:
                return forward(a, weights);
            case Stage::bp:
                return gemm(false, false, rows_, c_, k_, diff_dst(a), k_, weights, c_, 0.0F, a.out, c_);
            case Stage::wg:
                return gemm(true, false, k_, c_, rows_, diff_dst(a), k_, a.src, c_, 0.0F, a.out, c_);
        }
    }

  private:
    std::span<float> matrix(std::span<std::byte> prepared) const {
        if (prepared.size() < prepared_bytes())
            fail("{}: {} bytes for the prepared weights", products::to_string(problem()), prepared.size());
        return {reinterpret_cast<float*>(prepared.data()), static_cast<size_t>(c_ * k_)};
    }

    const float* diff_dst(const products::Arguments& a) const {
        if (a.packed_diff_dst == nullptr) return a.diff_dst;
        auto* const filled = reinterpret_cast<float*>(a.workspace.data());
        products::unpack_diff_dst(problem(), *a.packed_diff_dst, filled);
        return filled;
    }

    void forward(const products::Arguments& a, const float* weights) const {
        const float* const bias = a.epilogue.bias;
        if (bias != nullptr) repeat_row(bias, a.out, rows_, k_);
        gemm(false, true, rows_, k_, c_, a.src, c_, weights, c_, bias != nullptr ? 1.0F : 0.0F, a.out, k_);
        if (!a.epilogue.relu) return;
        parallel_for(rows_ * k_, 1 << 14, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) a.out[i] = a.out[i] < 0.0F ? 0.0F : a.out[i];
        });
    }

    int64_t rows_, c_, k_;
    bool weights_;
};

/// Whether a kernel of the list skips zeros: a gradient that is sparse along its channels has none.
bool skips_zeros(const Problem& problem, const std::string& kernel) {
    if (problem.sparse == Operand::weights) return kernel == "broadcast";
    return problem.stage == Stage::wg && (kernel == "kept" || kernel == "kept_rows");
}

}  // namespace

std::vector<products::Candidate> kernel_candidates(const Problem& problem) {
    std::vector<products::Candidate> list = products::candidates(problem);
    if (!decline_gemm(problem).empty()) return list;
    const auto at = std::ranges::find_if(
        list, [&](const products::Candidate& one) { return !skips_zeros(problem, one.name); });
    list.insert(at, {std::string(gemm_name), ""});
    return list;
}

std::unique_ptr<products::Product> plan_kernel(const Problem& problem, std::string_view kernel) {
    const std::string declined = decline_gemm(problem);
    if (kernel.empty() && declined.empty()) {
        const std::vector<products::Candidate> list = kernel_candidates(problem);
        const auto first =
            std::ranges::find_if(list, [](const products::Candidate& one) { return one.declined.empty(); });
        if (first->name == gemm_name) kernel = gemm_name;
    }
    if (kernel != gemm_name) return products::plan(problem, kernel);
    if (!declined.empty())
        refuse("{}: kernel '{}' declines: {}", products::to_string(problem), gemm_name, declined);
    products::say_dispatch(products::to_string(problem), onednn_version() + " gemm");
    return std::make_unique<Gemm>(problem);
}

}  // namespace enmesh::cpu
