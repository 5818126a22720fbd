#include <cublasLt.h>

#include <array>
#include <memory>

#include "products.hpp"

namespace enmesh::cuda {
namespace {

void check(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw std::runtime_error(std::string("cuBLASLt: ") + what + ": " + cublasLtGetStatusString(status));
}

/// dst is row-major, which cuBLASLt sees as its transpose: dstᵀ[cols][rows] = src · weightsᵀ.
class Dense {
  public:
    explicit Dense(const Operands& operands) : operands_(operands) {
        check(cublasLtCreate(&handle_), "handle");
        check(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product");
        const cublasOperation_t transposed = CUBLAS_OP_T;
        check(cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                             sizeof transposed),
              "product");
        const auto depth = static_cast<uint64_t>(operands.depth);
        check(cublasLtMatrixLayoutCreate(&src_, CUDA_R_16F, depth, static_cast<uint64_t>(operands.cols),
                                         operands.depth),
              "src");
        check(cublasLtMatrixLayoutCreate(&weights_, CUDA_R_16F, depth, static_cast<uint64_t>(operands.rows),
                                         operands.depth),
              "weights");
        check(cublasLtMatrixLayoutCreate(&dst_, CUDA_R_16F, static_cast<uint64_t>(operands.cols),
                                         static_cast<uint64_t>(operands.rows), operands.cols),
              "dst");
        cuda::check(cudaMalloc(&workspace_, workspace_bytes), "workspace");
        choose();
    }
    Dense(const Dense&) = delete;
    Dense& operator=(const Dense&) = delete;
    ~Dense() {
        cudaFree(workspace_);
        cublasLtMatrixLayoutDestroy(dst_);
        cublasLtMatrixLayoutDestroy(weights_);
        cublasLtMatrixLayoutDestroy(src_);
        cublasLtMatmulDescDestroy(product_);
        cublasLtDestroy(handle_);
    }

    void run() const { run(algorithm_); }

  private:
    static constexpr size_t workspace_bytes = size_t{64} << 20;

    void run(const cublasLtMatmulAlgo_t& algorithm) const {
        const float one = 1, zero = 0;
        check(cublasLtMatmul(handle_, product_, &one, operands_.src, src_, operands_.weights, weights_, &zero,
                             operands_.dst, dst_, operands_.dst, dst_, &algorithm, workspace_,
                             workspace_bytes, nullptr),
              "product");
    }

    /// The fastest of what the heuristic proposes.
    void choose() {
        cublasLtMatmulPreference_t preference = nullptr;
        check(cublasLtMatmulPreferenceCreate(&preference), "preference");
        check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                   &workspace_bytes, sizeof workspace_bytes),
              "preference");
        std::array<cublasLtMatmulHeuristicResult_t, 8> found{};
        int count = 0;
        check(cublasLtMatmulAlgoGetHeuristic(handle_, product_, src_, weights_, dst_, dst_, preference,
                                             static_cast<int>(found.size()), found.data(), &count),
              "heuristic");
        cublasLtMatmulPreferenceDestroy(preference);
        float best = -1;
        for (int i = 0; i < count; ++i) {
            const auto& algorithm = found[static_cast<size_t>(i)].algo;
            const float taken = median_milliseconds([&] { run(algorithm); }, 5);
            if (best >= 0 && taken >= best) continue;
            best = taken;
            algorithm_ = algorithm;
        }
        if (best < 0) throw std::runtime_error("cuBLASLt: no algorithm for the product");
    }

    Operands operands_;
    cublasLtHandle_t handle_ = nullptr;
    cublasLtMatmulDesc_t product_ = nullptr;
    cublasLtMatrixLayout_t src_ = nullptr, weights_ = nullptr, dst_ = nullptr;
    void* workspace_ = nullptr;
    cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace

Run cublaslt_product(const Operands& operands) {
    return [dense = std::make_shared<Dense>(operands)] { dense->run(); };
}

}  // namespace enmesh::cuda
