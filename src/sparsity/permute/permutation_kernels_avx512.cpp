#define ENMESH_LANES 16
#define ENMESH_KERNELS kernels_avx512
#include "sparsity/permute/permutation_kernels_impl.hpp"
