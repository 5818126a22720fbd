#pragma once

#include <cstdint>

#include "enmesh/base/isa.hpp"
#include "enmesh/graph/unary_kind.hpp"

namespace enmesh::cpu {

/// Per-lane coefficients have this period: every block (1, 2, 4, 8, 16) divides it, so that element i of a
/// run belongs to lane i % lanes whatever the layout.
constexpr int lanes = 16;

/// What one pass of a batch norm's gradient reads: dy = (g1 + g2) where z > 0.
struct NormGradient {
    const float* g1;
    const float* g2;  ///< may be null
    const float* z;   ///< may be null: no ReLU
};

struct SgdCoefficients {
    float learning_rate, gradient_scale, momentum, weight_decay;
    bool nesterov;
};
struct AdamCoefficients {
    float learning_rate, gradient_scale, beta1, beta2, epsilon, weight_decay, correction1, correction2;
};

/// One plane of a pool: h x w pixels of `block` lanes each.
struct PoolPlane {
    int64_t h, w, oh, ow, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    int block;
};

/// Element-wise and reducing loops over contiguous runs, compiled once per ISA. No call allocates or starts
/// threads.
struct Simd {
    /// sum[l] += x - shift[l], sum_squares[l] += (x - shift[l])^2 over the run.
    void (*norm_sums)(const float* x, int64_t count, const float* shift, double* sum, double* sum_squares);
    // `stream`: the result is written with streaming stores, by AVX-512 and where it begins on a cache line;
    // the caller ends with finish_streaming(). Values are the same bits either way.

    /// y = x * scale[l] + offset[l] (+ residual), then max(0, y) if relu.
    void (*norm_apply)(const float* x, const float* residual, float* y, int64_t count, const float* scale,
                       const float* offset, bool relu, bool stream);
    /// sum[l] += dy, sum_product[l] += dy * (x - mean[l]); dy is stored if dy_out is not null.
    void (*norm_backward_sums)(NormGradient gradient, const float* x, float* dy_out, int64_t count,
                               const float* mean, double* sum, double* sum_product, bool stream);
    /// dx = dy * a[l] + x * b[l] + c[l].
    void (*norm_backward_apply)(NormGradient gradient, const float* x, float* dx, int64_t count,
                                const float* a, const float* b, const float* c, bool stream);
    void (*add)(const float* a, const float* b, float* y, int64_t count);
    void (*subtract)(const float* a, const float* b, float* y, int64_t count);
    void (*multiply)(const float* a, const float* b, float* y, int64_t count);
    void (*divide)(const float* a, const float* b, float* y, int64_t count);
    void (*scale)(const float* x, float factor, float* y, int64_t count);
    void (*relu)(const float* x, float* y, int64_t count);
    void (*relu_backward)(const float* z, const float* dz, float* dx, int64_t count);
    void (*gelu)(const float* x, float* y, int64_t count);
    void (*gelu_backward)(const float* x, const float* dy, float* dx, int64_t count);
    void (*unary)(UnaryKind kind, float a, float b, const float* x, float* y, int64_t count);
    void (*unary_backward)(UnaryKind kind, float a, float b, const float* x, const float* dy, float* dx,
                           int64_t count);
    /// One row: y = exp(x - max) / sum. A NaN in the row makes all of it NaN.
    void (*softmax)(const float* x, float* y, int64_t count);
    void (*softmax_backward)(const float* y, const float* dy, float* dx, int64_t count);
    double (*sum)(const float* x, int64_t count);
    double (*sum_squares)(const float* x, int64_t count);
    /// sums[i] += x[i].
    void (*accumulate)(const float* x, float* sums, int64_t count);
    void (*sgd)(float* w, const float* g, float* v, int64_t count, const SgdCoefficients& c);
    void (*adamw)(float* w, const float* g, float* m, float* v, int64_t count, const AdamCoefficients& c);
    void (*average)(float* a, const float* w, float decay, int64_t count);
    bool (*all_finite)(const float* x, int64_t count);
    /// To the nearest bfloat16, ties to even; NaN stays NaN. As its 16 bits, or as the float32 of its value.
    void (*to_bf16)(const float* x, uint16_t* y, int64_t count);
    void (*round_to_bf16)(const float* x, float* y, int64_t count);
    /// The maximum of each window and its place in it (r * kernel_w + s; ties: the first; NaN wins).
    void (*max_pool)(const PoolPlane& plane, const float* src, float* dst, uint8_t* places);
    /// diff_src = the sum of diff_dst over the windows whose maximum stood there.
    void (*max_pool_backward)(const PoolPlane& plane, const float* diff_dst, const uint8_t* places,
                              float* diff_src);
};

/// The loops for enmesh::isa().
const Simd& simd();

extern const Simd simd_portable;
#if defined(__x86_64__)
extern const Simd simd_avx2;
extern const Simd simd_avx512;
#endif

}  // namespace enmesh::cpu
