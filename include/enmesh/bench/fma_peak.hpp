#pragma once

namespace enmesh::bench {

/// Floating-point operations a second (two per fused multiply-add) that threads() threads at once reach in
/// registers alone, in the widest vectors that our kernels may use here; 0 where they have none (portable).
/// Threads that share a core or a lower clock share its peak.
double fma_peak_flops();

}  // namespace enmesh::bench
