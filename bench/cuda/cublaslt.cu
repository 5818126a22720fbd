#include <cublasLt.h>

#include <array>
#include <memory>
#include <span>

#include "products.hpp"

namespace enmesh::cuda {
namespace {

void check(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw std::runtime_error(std::string("cuBLASLt: ") + what + ": " + cublasLtGetStatusString(status));
}

/// A handle that goes with its owner, also if the owner's constructor throws.
template <typename Handle, cublasStatus_t (*destroy)(Handle)>
struct Owned {
    Owned() = default;
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
        if (handle != nullptr) destroy(handle);
    }
    operator Handle() const { return handle; }

    Handle handle = nullptr;
};
using Matrix = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;

/// cuBLASLt's matrices are column-major: dst[cols][rows] is its rows x cols matrix weights · srcᵀ.
class Dense {
  public:
    explicit Dense(const Operands& o) : weights_data_(o.weights.get()), src_data_(o.src.get()) {
        dst_data_ = o.dst.get();
        const Size& s = o.size;
        const cudaDataType_t type = o.type == Type::f16 ? CUDA_R_16F : CUDA_R_16BF;
        check(cublasLtCreate(&handle_.handle), "handle");
        check(cublasLtMatmulDescCreate(&product_.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product");
        const cublasOperation_t of_weights = s.depth_major ? CUBLAS_OP_N : CUBLAS_OP_T;
        const cublasOperation_t of_src = s.depth_major ? CUBLAS_OP_T : CUBLAS_OP_N;
        set(CUBLASLT_MATMUL_DESC_TRANSA, of_weights);
        set(CUBLASLT_MATMUL_DESC_TRANSB, of_src);
        weights_.handle = s.depth_major ? matrix(type, s.rows, s.depth) : matrix(type, s.depth, s.rows);
        src_.handle = s.depth_major ? matrix(type, s.cols, s.depth) : matrix(type, s.depth, s.cols);
        dst_.handle = matrix(type, s.rows, s.cols);
        workspace_ = DeviceMemory<unsigned char>(workspace_bytes);
    }
    Dense(const Dense&) = delete;
    Dense& operator=(const Dense&) = delete;

    void run() const { run(algorithm_); }

    /// The fastest of what the heuristic proposes; the first where nothing is timed.
    void choose(const std::function<double(const Run&)>& timed) {
        Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference;
        check(cublasLtMatmulPreferenceCreate(&preference.handle), "preference");
        const auto bytes = static_cast<size_t>(workspace_bytes);
        check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                   &bytes, sizeof bytes),
              "preference");
        // A split depth's partial sums stay in FP32.
        const uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                   &scheme, sizeof scheme),
              "preference");
        std::array<cublasLtMatmulHeuristicResult_t, 8> found{};
        int count = 0;
        check(cublasLtMatmulAlgoGetHeuristic(handle_, product_, weights_, src_, dst_, dst_, preference,
                                             static_cast<int>(found.size()), found.data(), &count),
              "heuristic");
        if (count == 0) throw std::runtime_error("cuBLASLt: no algorithm for the product");
        algorithm_ = found[0].algo;
        if (timed) choose_fastest({found.data(), static_cast<size_t>(count)}, timed);
    }

  private:
    static constexpr int64_t workspace_bytes = int64_t{64} << 20;

    void choose_fastest(std::span<const cublasLtMatmulHeuristicResult_t> found,
                        const std::function<double(const Run&)>& timed) {
        double best = -1;
        std::string message;
        for (const cublasLtMatmulHeuristicResult_t& candidate : found) {
            try {
                const double taken = timed([&] { run(candidate.algo); });
                if (best >= 0 && !(taken < best)) continue;
                best = taken;
                algorithm_ = candidate.algo;
            } catch (const std::runtime_error& error) {
                // A proposal that does not run; the others may.
                message = error.what();
            }
        }
        if (best < 0) throw std::runtime_error(message);
    }

    template <typename T>
    void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
        check(cublasLtMatmulDescSetAttribute(product_, attribute, &value, sizeof value), "product");
    }

    static cublasLtMatrixLayout_t matrix(cudaDataType_t type, int64_t height, int64_t width) {
        cublasLtMatrixLayout_t layout = nullptr;
        check(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(height),
                                         static_cast<uint64_t>(width), height),
              "matrix");
        return layout;
    }

    void run(const cublasLtMatmulAlgo_t& algorithm) const {
        const float one = 1, zero = 0;
        check(cublasLtMatmul(handle_, product_, &one, weights_data_, weights_, src_data_, src_, &zero,
                             dst_data_, dst_, dst_data_, dst_, &algorithm, workspace_.get(),
                             static_cast<size_t>(workspace_bytes), nullptr),
              "product");
    }

    const uint16_t *weights_data_, *src_data_;
    uint16_t* dst_data_ = nullptr;
    Owned<cublasLtHandle_t, cublasLtDestroy> handle_;
    Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> product_;
    Matrix src_, weights_, dst_;
    DeviceMemory<unsigned char> workspace_;
    cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace

Run cublaslt_product(const Operands& operands, const std::function<double(const Run&)>& timed) {
    const auto dense = std::make_shared<Dense>(operands);
    dense->choose(timed);
    return [dense] { dense->run(); };
}

size_t cublaslt_version() { return cublasLtGetVersion(); }

}  // namespace enmesh::cuda
