#define ENMESH_LANES 4
#define ENMESH_MAX_SUMS 12
#define ENMESH_MAX_VECTORS 12
#define ENMESH_DENSE_VECTORS 3
#define ENMESH_SPREAD 1
#include "products/micro/micro_impl.hpp"

namespace enmesh::products {

const MicroKernels micro_portable = ENMESH_MICRO_KERNELS("portable");

}  // namespace enmesh::products
