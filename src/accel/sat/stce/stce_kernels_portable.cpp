#include "accel/sat/stce/stce_kernels_impl.hpp"

#include "enmesh/base/isa.hpp"

namespace enmesh::accel::sat {

const StceKernels& stce_kernels_portable() { return kernels; }

const StceKernels& stce_kernels() {
    return isa() == Isa::portable ? stce_kernels_portable() : stce_kernels_avx2();
}

}  // namespace enmesh::accel::sat
