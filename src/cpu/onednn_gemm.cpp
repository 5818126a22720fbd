// oneDNN's matrix product as an entry of the list of product kernels.

#include <algorithm>

#include "cpu/onednn.hpp"
#include "cpu/onednn_kernels.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/select.hpp"

namespace enmesh::cpu {
namespace {

using products::Lanes;
using products::Number;
using products::Operand;
using products::PlanOptions;
using products::Problem;
using products::Stage;

/// In float32. Dense weights are read where they lie; N:M weights are filled in once per update, an N:M
/// gradient in the workspace.
class Gemm final : public products::Product {
  public:
    explicit Gemm(const Problem& problem)
        : Product(problem),
          rows_(problem.conv.n),
          c_(problem.conv.c),
          k_(problem.conv.k),
          weights_(problem.sparse() == Operand::weights) {}

    std::string_view kernel() const override { return "gemm"; }
    std::string description() const override { return "oneDNN gemm"; }
    bool filled_in() const override { return !problem().dense(); }
    bool weights_in_place() const override { return problem().dense() && problem().stage != Stage::wg; }
    size_t workspace_bytes() const override {
        const bool fills = problem().sparse() == Operand::diff_dst;
        return fills ? static_cast<size_t>(rows_ * k_) * sizeof(float) : 0;
    }
    size_t prepared_bytes() const override {
        const bool prepares = !weights_in_place() && problem().stage != Stage::wg;
        return prepares ? static_cast<size_t>(c_ * k_) * sizeof(float) : 0;
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
        const float* const weights =
            weights_in_place() ? a.weights : reinterpret_cast<const float*>(a.prepared.data());
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

/// In bfloat16, planned by the library; weights are rounded once per update, N:M weights filled in before.
class Bf16Gemm final : public products::Product {
  public:
    Bf16Gemm(const Problem& problem, bool bias)
        : Product(problem), plan_(plan_matmul(shape_of(problem), bias)) {}

    std::string_view kernel() const override { return "dense"; }
    std::string description() const override { return plan_->kernel(); }
    bool filled_in() const override { return !problem().dense(); }
    bool prepares_dense() const override { return true; }
    size_t workspace_bytes() const override { return plan_->workspace_bytes(); }
    size_t prepared_bytes() const override {
        if (problem().stage == Stage::wg) return 0;
        return static_cast<size_t>(problem().conv.weights_size()) * sizeof(uint16_t);
    }

    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        auto* const to = reinterpret_cast<uint16_t*>(prepared.data());
        over_elements(static_cast<int64_t>(weights.size()), [&](int64_t at, int64_t count) {
            simd().to_bf16(weights.data() + at, to + at, count);
        });
    }

    void run(const products::Arguments& a) const override {
        const auto* const weights = reinterpret_cast<const uint16_t*>(a.prepared.data());
        const bool wg = problem().stage == Stage::wg;
        const uint16_t* const left = problem().stage == Stage::ff ? a.src_bf16 : a.diff_dst_bf16;
        plan_->run(left, wg ? a.src_bf16 : weights, a.epilogue.bias, a.out, a.workspace.data());
    }

  private:
    static MatrixShape shape_of(const Problem& problem) {
        const int64_t n = problem.conv.n, c = problem.conv.c, k = problem.conv.k;
        switch (problem.stage) {
            case Stage::ff:
                return {false, true, n, k, c};
            case Stage::bp:
                return {false, false, n, c, k};
            case Stage::wg:
                break;
        }
        return {true, false, k, c, n};
    }

    std::unique_ptr<DnnlMatmul> plan_;
};

bool is_bf16(const Problem& p) { return p.numbers.a == Number::bf16; }

/// Rows; and an N:M operand's maps of one pixel in block 1, which are rows too and which our kernels serve.
bool concerns(const Problem& p) {
    if (p.lanes == Lanes::rows) return !is_bf16(p) || p.sparse() != Operand::diff_dst;
    return p.lanes == Lanes::images && !is_bf16(p) && p.block == 1 && p.linear() && !p.dense();
}

std::string declines(const Problem& p, const PlanOptions&) {
    return is_bf16(p) && isa() != Isa::avx512 ? "oneDNN multiplies bfloat16 with AVX-512 alone" : "";
}

std::unique_ptr<products::Product> plan_gemm(const Problem& p, const PlanOptions& options) {
    if (is_bf16(p)) return std::make_unique<Bf16Gemm>(p, options.bias);
    if (p.lanes == Lanes::images) products::say_dispatch(products::to_string(p), onednn_version() + " gemm");
    return std::make_unique<Gemm>(p);
}

}  // namespace

products::Kernel onednn_gemm() {
    return {
        .name = "oneDNN gemm",
        .library = "oneDNN",
        .concerns = concerns,
        .declines = declines,
        .plan = plan_gemm,
        .properties = [](const Problem&,
                         const PlanOptions&) { return products::Properties{.bits_depend_on_threads = true}; },
        // Plans so far call the alternative to an N:M kernel on bfloat16 rows "dense".
        .planned_as = [](const Problem& p, const PlanOptions&) { return is_bf16(p) ? "dense" : "gemm"; }};
}

}  // namespace enmesh::cpu
