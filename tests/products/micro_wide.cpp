#define ENMESH_LANES 16
#define ENMESH_MAX_SUMS 8
#define ENMESH_MAX_VECTORS 5
#define ENMESH_DENSE_VECTORS 3
#define ENMESH_SPREAD 1
#define ENMESH_UNROLL  // without optimization an annotated loop is warned of
#include "products/micro/micro_impl.hpp"
#include "products/random_problem.hpp"

namespace enmesh::products {

const MicroKernels micro_wide = ENMESH_MICRO_KERNELS("wide");

}  // namespace enmesh::products
