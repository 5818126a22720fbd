#pragma once

#include <cstdint>

#include "enmesh/accel/common/dataflow.hpp"
#include "enmesh/base/pattern.hpp"

/// The dense systolic array in the SCALE-Sim convention, so that users can compare on their own files: every
/// fold is charged the full array, folds never overlap, memory never stalls.
namespace enmesh::accel::systolic {

struct Systolic {
    int rows = 32;
    int cols = 32;
    /// SCALE-Sim v3 leaves the R cycles of the output-stationary drain out; true charges them (2R+C+T-2, the
    /// published form).
    bool charge_os_drain = false;
};

struct SystolicCycles {
    int64_t folds = 0;
    int64_t cycles = 0;             ///< a count: one more than the last cycle's index, which SCALE-Sim prints
    int64_t multiply_adds = 0;      ///< m * n * k, k compacted if sparse
    double utilization = 0;         ///< multiply_adds / (cycles * rows * cols)
    double mapping_efficiency = 0;  ///< share of the array that folds fill: Sr*Sc / (folds * rows * cols)
};

/// m, n, k as in SCALE-Sim's GEMM view: m output pixels, n filters, k = filter height * width * channels.
/// With (Sr, Sc, T) = ws (k, n, m), is (k, m, n), os (m, n, k) and F = ceil(Sr/R) * ceil(Sc/C):
/// ws and is take F * (2R + C + T - 2), os F * (R + C + T - 2). Refuses sizes below 1.
SystolicCycles systolic_cycles(const Systolic& array, Dataflow dataflow, int64_t m, int64_t n, int64_t k);

/// SCALE-Sim's layer-wise N:M shrinks k: floor(k/M)*N + min(k mod M, N).
int64_t systolic_compacted_k(int64_t k, Pattern pattern);

}  // namespace enmesh::accel::systolic
