#define ENMESH_LANES 4
#define ENMESH_KERNELS kernels_portable
#include "sparsity/permute/permutation_kernels_impl.hpp"
