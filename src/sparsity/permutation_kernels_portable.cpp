#define ENMESH_LANES 4
#define ENMESH_KERNELS kernels_portable
#include "sparsity/permutation_kernels_impl.hpp"
