#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "tiles.hpp"

/// One product on a GPU, by several ways of computing it: dst[rows][cols] = weights[rows][depth] ·
/// src[cols][depth]ᵀ in FP16 with FP32 sums. Weights are 2:4 along the depth; the dense contestant multiplies
/// the zeros.
namespace enmesh::cuda {

/// Device memory of one product, sizes padded.
struct Operands {
    int64_t rows = 0, cols = 0, depth = 0;  ///< padded
    __half* weights = nullptr;   ///< [rows][depth], two of every four consecutive elements are zero
    __half* src = nullptr;       ///< [cols][depth]
    __half* dst = nullptr;       ///< [rows][cols]
    float* reference = nullptr;  ///< [rows][cols]: double sums of a plain loop
};

/// Random operands of the size, pruned, with their reference result. Throws where memory does not suffice.
Operands make_operands(int64_t rows, int64_t cols, int64_t depth);
void release(Operands& operands);
/// Clears dst.
void clear_result(const Operands& operands);
/// The largest |dst - reference| over the largest |reference|; NaN where dst holds one.
double relative_error(const Operands& operands);

/// Enqueues one product on the default stream.
using Run = std::function<void()>;

/// PTX `mma.sp` in a kernel of ours.
Run mma_sp_product(const Operands& operands);
/// Dense, the fastest of the algorithms that cuBLASLt proposes.
Run cublaslt_product(const Operands& operands);
/// cuSPARSELt after its own search; empty where it was not built in.
Run cusparselt_product(const Operands& operands);

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

/// Milliseconds of a run: the median of `rounds` after a warm-up.
float median_milliseconds(const Run& run, int rounds);

}  // namespace enmesh::cuda
