#include "accel/sat/stce/stce_kernels_impl.hpp"

namespace enmesh::accel::sat {

const StceKernels& stce_kernels_avx2() { return kernels; }

}  // namespace enmesh::accel::sat
