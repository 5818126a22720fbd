#include <cusparseLt.h>

#include <memory>

#include "products.hpp"

namespace enmesh::cuda {
namespace {

void check(cusparseStatus_t status, const char* what) {
    if (status != CUSPARSE_STATUS_SUCCESS)
        throw std::runtime_error(std::string("cuSPARSELt: ") + what + ": " + cusparseGetErrorString(status));
}

class Sparse {
  public:
    explicit Sparse(const Operands& operands) : operands_(operands) {
        constexpr unsigned alignment = 16;
        const int64_t rows = operands.rows, cols = operands.cols, depth = operands.depth;
        check(cusparseLtInit(&handle_), "handle");
        check(
            cusparseLtStructuredDescriptorInit(&handle_, &weights_, rows, depth, depth, alignment, CUDA_R_16F,
                                               CUSPARSE_ORDER_ROW, CUSPARSELT_SPARSITY_50_PERCENT),
            "weights");
        check(cusparseLtDenseDescriptorInit(&handle_, &src_, cols, depth, depth, alignment, CUDA_R_16F,
                                            CUSPARSE_ORDER_ROW),
              "src");
        check(cusparseLtDenseDescriptorInit(&handle_, &dst_, rows, cols, cols, alignment, CUDA_R_16F,
                                            CUSPARSE_ORDER_ROW),
              "dst");
        check(cusparseLtMatmulDescriptorInit(&handle_, &product_, CUSPARSE_OPERATION_NON_TRANSPOSE,
                                             CUSPARSE_OPERATION_TRANSPOSE, &weights_, &src_, &dst_, &dst_,
                                             CUSPARSE_COMPUTE_32F),
              "product");
        check(
            cusparseLtMatmulAlgSelectionInit(&handle_, &algorithm_, &product_, CUSPARSELT_MATMUL_ALG_DEFAULT),
            "algorithm");
        check(cusparseLtMatmulPlanInit(&handle_, &plan_, &product_, &algorithm_), "plan");
        compress();
        const float one = 1, zero = 0;
        check(cusparseLtMatmulSearch(&handle_, &plan_, &one, packed_, operands_.src, &zero, operands_.dst,
                                     operands_.dst, nullptr, nullptr, 0),
              "search");
        size_t bytes = 0;
        check(cusparseLtMatmulGetWorkspace(&handle_, &plan_, &bytes), "workspace");
        if (bytes > 0) cuda::check(cudaMalloc(&workspace_, bytes), "workspace");
    }
    Sparse(const Sparse&) = delete;
    Sparse& operator=(const Sparse&) = delete;
    ~Sparse() {
        cudaFree(workspace_);
        cudaFree(packed_);
        cusparseLtMatmulPlanDestroy(&plan_);
        cusparseLtMatmulAlgSelectionDestroy(&algorithm_);
        cusparseLtMatDescriptorDestroy(&weights_);
        cusparseLtMatDescriptorDestroy(&src_);
        cusparseLtMatDescriptorDestroy(&dst_);
        cusparseLtDestroy(&handle_);
    }

    void run() const {
        const float one = 1, zero = 0;
        check(cusparseLtMatmul(&handle_, &plan_, &one, packed_, operands_.src, &zero, operands_.dst,
                               operands_.dst, workspace_, nullptr, 0),
              "product");
    }

  private:
    /// The weights are 2:4 already: packed as they are, without pruning.
    void compress() {
        size_t bytes = 0, buffer_bytes = 0;
        check(cusparseLtSpMMACompressedSize(&handle_, &plan_, &bytes, &buffer_bytes), "packed size");
        void* buffer = nullptr;
        cuda::check(cudaMalloc(&packed_, bytes), "packed weights");
        if (buffer_bytes > 0) cuda::check(cudaMalloc(&buffer, buffer_bytes), "packing");
        check(cusparseLtSpMMACompress(&handle_, &plan_, operands_.weights, packed_, buffer, nullptr),
              "packing");
        cuda::check(cudaDeviceSynchronize(), "packing");
        cudaFree(buffer);
    }

    Operands operands_;
    cusparseLtHandle_t handle_{};
    cusparseLtMatDescriptor_t weights_{}, src_{}, dst_{};
    cusparseLtMatmulDescriptor_t product_{};
    cusparseLtMatmulAlgSelection_t algorithm_{};
    cusparseLtMatmulPlan_t plan_{};
    void *packed_ = nullptr, *workspace_ = nullptr;
};

}  // namespace

Run cusparselt_product(const Operands& operands) {
    return [sparse = std::make_shared<Sparse>(operands)] { sparse->run(); };
}

}  // namespace enmesh::cuda
