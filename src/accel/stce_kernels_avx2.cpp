#include "accel/stce_kernels.inl"

namespace enmesh::accel {

const StceKernels& stce_kernels_avx2() { return kernels; }

}  // namespace enmesh::accel
