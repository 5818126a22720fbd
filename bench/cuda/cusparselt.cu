#include <cusparseLt.h>

#include <cstdio>

#include "cusparselt_plugin.hpp"
#include "products.hpp"

namespace enmesh::cuda {
namespace {

void check(cusparseStatus_t status, const char* what) {
    if (status != CUSPARSE_STATUS_SUCCESS)
        throw std::runtime_error(std::string(what) + ": " + cusparseLtGetErrorString(status));
}

class Sparse {
  public:
    explicit Sparse(const CusparseltProduct& product) : product_(product) {
        describe();
        size_t bytes = 0, buffer_bytes = 0;
        check(cusparseLtSpMMACompressedSize(&handle_, &plan_, &bytes, &buffer_bytes), "packed size");
        packed_ = DeviceMemory<unsigned char>(static_cast<int64_t>(bytes));
        if (buffer_bytes > 0) buffer_ = DeviceMemory<unsigned char>(static_cast<int64_t>(buffer_bytes));
        compress();
        const float one = 1, zero = 0;
        check(cusparseLtMatmulSearch(&handle_, &plan_, &one, packed_.get(), product_.src, &zero, product_.dst,
                                     product_.dst, nullptr, nullptr, 0),
              "search");
        size_t workspace_bytes = 0;
        check(cusparseLtMatmulGetWorkspace(&handle_, &plan_, &workspace_bytes), "workspace");
        if (workspace_bytes > 0)
            workspace_ = DeviceMemory<unsigned char>(static_cast<int64_t>(workspace_bytes));
    }
    Sparse(const Sparse&) = delete;
    Sparse& operator=(const Sparse&) = delete;
    ~Sparse() {
        cusparseLtMatmulPlanDestroy(&plan_);
        cusparseLtMatmulAlgSelectionDestroy(&algorithm_);
        cusparseLtMatDescriptorDestroy(&weights_);
        cusparseLtMatDescriptorDestroy(&src_);
        cusparseLtMatDescriptorDestroy(&dst_);
        cusparseLtDestroy(&handle_);
    }

    void run() const {
        const float one = 1, zero = 0;
        check(cusparseLtMatmul(&handle_, &plan_, &one, packed_.get(), product_.src, &zero, product_.dst,
                               product_.dst, workspace_.get(), nullptr, 0),
              "product");
    }

    /// The weights are 2:4 already: packed as they are, without pruning.
    void compress() const {
        check(
            cusparseLtSpMMACompress(&handle_, &plan_, product_.pruned, packed_.get(), buffer_.get(), nullptr),
            "packing");
    }

  private:
    void describe() {
        constexpr unsigned alignment = 16;
        const int64_t rows = product_.rows, cols = product_.cols, depth = product_.depth;
        const cudaDataType type = product_.bf16 ? CUDA_R_16BF : CUDA_R_16F;
        check(cusparseLtInit(&handle_), "handle");
        check(cusparseLtStructuredDescriptorInit(&handle_, &weights_, rows, depth, depth, alignment, type,
                                                 CUSPARSE_ORDER_ROW, CUSPARSELT_SPARSITY_50_PERCENT),
              "weights");
        check(cusparseLtDenseDescriptorInit(&handle_, &src_, cols, depth, depth, alignment, type,
                                            CUSPARSE_ORDER_ROW),
              "src");
        check(cusparseLtDenseDescriptorInit(&handle_, &dst_, rows, cols, rows, alignment, type,
                                            CUSPARSE_ORDER_COL),
              "dst");
        check(cusparseLtMatmulDescriptorInit(&handle_, &matmul_, CUSPARSE_OPERATION_NON_TRANSPOSE,
                                             CUSPARSE_OPERATION_TRANSPOSE, &weights_, &src_, &dst_, &dst_,
                                             CUSPARSE_COMPUTE_32F),
              "product");
        check(
            cusparseLtMatmulAlgSelectionInit(&handle_, &algorithm_, &matmul_, CUSPARSELT_MATMUL_ALG_DEFAULT),
            "algorithm");
        check(cusparseLtMatmulPlanInit(&handle_, &plan_, &matmul_, &algorithm_), "plan");
    }

    CusparseltProduct product_;
    cusparseLtHandle_t handle_{};
    cusparseLtMatDescriptor_t weights_{}, src_{}, dst_{};
    cusparseLtMatmulDescriptor_t matmul_{};
    cusparseLtMatmulAlgSelection_t algorithm_{};
    cusparseLtMatmulPlan_t plan_{};
    DeviceMemory<unsigned char> packed_, buffer_, workspace_;
};

template <typename Work>
int guarded(const Work& work, char* message, size_t size) {
    try {
        work();
        return 0;
    } catch (const std::exception& error) {
        std::snprintf(message, size, "%s", error.what());
        return 1;
    }
}

void* create(const CusparseltProduct* product, char* message, size_t size) {
    Sparse* made = nullptr;
    guarded([&] { made = new Sparse(*product); }, message, size);
    return made;
}
int run(void* product, char* message, size_t size) {
    return guarded([&] { static_cast<Sparse*>(product)->run(); }, message, size);
}
int compress(void* product, char* message, size_t size) {
    return guarded([&] { static_cast<Sparse*>(product)->compress(); }, message, size);
}
void destroy(void* product) { delete static_cast<Sparse*>(product); }

int version() {
    int major = 0, minor = 0, patch = 0;
    cusparseLtGetProperty(MAJOR_VERSION, &major);
    cusparseLtGetProperty(MINOR_VERSION, &minor);
    cusparseLtGetProperty(PATCH_LEVEL, &patch);
    return major * 10000 + minor * 100 + patch;
}

}  // namespace
}  // namespace enmesh::cuda

extern "C" __attribute__((visibility("default"))) const enmesh::cuda::CusparseltApi* enmesh_cusparselt() {
    using namespace enmesh::cuda;
    static const CusparseltApi api{version(), create, run, compress, destroy};
    return &api;
}
