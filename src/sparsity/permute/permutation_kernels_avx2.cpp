#define ENMESH_LANES 8
#define ENMESH_KERNELS kernels_avx2
#include "sparsity/permute/permutation_kernels_impl.hpp"
