#pragma once

namespace enmesh::cli {

/// Floating-point operations a second (two per fused multiply-add) that one core reaches in registers alone,
/// in the widest vectors that our kernels may use here; 0 where they have none (portable).
double fma_peak_flops();

}  // namespace enmesh::cli
