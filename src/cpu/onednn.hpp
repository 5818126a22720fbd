#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "cpu/lowering.hpp"
#include "enmesh/cpu/kernels.hpp"

namespace enmesh::cpu {

/// A dense convolution product by oneDNN on maps in our layouts; the only file that sees oneDNN's API.
/// Planning allocates; prepare() and run() do not, but for what the library itself allocates for a call. One
/// run at a time. Weights are KCRS outside and in the library's own layout
/// inside. Maps and weights that are read are float32, or all bfloat16 where the layout of a map says so;
/// what is written is float32.
class DnnlConvolution {
  public:
    virtual ~DnnlConvolution() = default;
    virtual std::string kernel() const = 0;
    /// Whether the library has nothing but its reference implementation for it, which takes many times longer.
    virtual bool reference() const = 0;
    virtual size_t workspace_bytes() const = 0;
    /// Bytes of the weights in the kernel's layout; 0 for WG.
    virtual size_t prepared_bytes() const = 0;
    virtual void prepare(const float* weights, std::byte* prepared) const = 0;
    /// Bytes of the maps on either side, in the layouts it was planned for.
    virtual size_t src_bytes() const = 0;
    virtual size_t dst_bytes() const = 0;

    struct Arguments {
        const void* src = nullptr;            ///< FF, WG
        const void* diff_dst = nullptr;       ///< BP, WG
        const float* bias = nullptr;          ///< FF
        const std::byte* prepared = nullptr;  ///< FF, BP
        float* out = nullptr;                 ///< dst, diff_src, or diff_weights (KCRS)
        std::byte* workspace = nullptr;
    };
    virtual void run(const Arguments& arguments) const = 0;
};

enum class DnnlAlgorithm { direct, winograd };

/// `src` and `dst` are the layouts of the maps on either side. Without an algorithm Winograd serves where the
/// library has it. Refuses what the library cannot do.
std::unique_ptr<DnnlConvolution> plan_convolution(products::Stage stage, const products::Conv& conv,
                                                  Layout src, Layout dst, bool bias,
                                                  std::optional<DnnlAlgorithm> algorithm = std::nullopt);
/// Whether the library has Winograd for it: float32 alone, and unless ENMESH_WINOGRAD=0.
bool has_winograd(products::Stage stage, const products::Conv& conv, Layout src, Layout dst);

/// The same by one algorithm and in map layouts of the library's own choice. Null where the
/// library has no such algorithm for the shape and processor.
std::unique_ptr<DnnlConvolution> plan_contestant(products::Stage stage, const products::Conv& conv,
                                                 DnnlAlgorithm algorithm,
                                                 Layout::Element element = Layout::Element::f32);

/// c[m][n] = op(a) * op(b) + beta * c, row-major, leading dimensions as given; single-threaded inside a
/// parallel region.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

/// Row-major matrices: out[m][n] = op(a) * op(b) + bias[n]; a transposed operand lies as [k][m] or [n][k].
struct MatrixShape {
    bool transpose_a = false, transpose_b = false;
    int64_t m = 0, n = 0, k = 0;
};

/// Such a product of bfloat16 operands (their 16 bits) with float32 sums, planned once. AVX-512 only.
class DnnlMatmul {
  public:
    virtual ~DnnlMatmul() = default;
    virtual std::string kernel() const = 0;
    virtual size_t workspace_bytes() const = 0;
    /// `bias` only if it was planned with one.
    virtual void run(const uint16_t* a, const uint16_t* b, const float* bias, float* out,
                     std::byte* workspace) const = 0;
};
std::unique_ptr<DnnlMatmul> plan_matmul(const MatrixShape& shape, bool bias);

/// Whether plan_convolution can have Winograd at all: oneDNN 2 on AVX-512, unless ENMESH_WINOGRAD=0.
bool onednn_has_winograd();

}  // namespace enmesh::cpu
