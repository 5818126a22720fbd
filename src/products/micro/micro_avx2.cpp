#define ENMESH_LANES 8
#define ENMESH_MAX_SUMS 14
#define ENMESH_MAX_VECTORS 14
#define ENMESH_DENSE_VECTORS 3
#define ENMESH_SPREAD 1
#include "products/micro/micro_impl.hpp"

namespace enmesh::products {

const MicroKernels micro_avx2 = ENMESH_MICRO_KERNELS("avx2");

}  // namespace enmesh::products
