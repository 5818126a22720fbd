#include "sparsity/permute/permutation_kernels.hpp"

namespace enmesh::permutation {

const Kernels& kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::avx512) return kernels_avx512;
    if (isa() == Isa::avx2) return kernels_avx2;
#endif
    return kernels_portable;
}

}  // namespace enmesh::permutation
