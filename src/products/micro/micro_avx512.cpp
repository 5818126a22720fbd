#define ENMESH_LANES 16
#define ENMESH_MAX_SUMS 28
#define ENMESH_MAX_VECTORS 14
#define ENMESH_DENSE_VECTORS 6
#define ENMESH_SPREAD 0
#include "products/micro/micro_impl.hpp"

namespace enmesh::products {

const MicroKernels micro_avx512 = ENMESH_MICRO_KERNELS("avx512");

}  // namespace enmesh::products
