#include "products/permuted/permuted_avx512_ops.hpp"

namespace enmesh::products {
namespace {

struct Ops : Avx512Loads {
    using Weights = __m512bh;

    static Weights load_weights(const uint16_t* at) { return (__m512bh)_mm512_loadu_si512(at); }
    static void multiply(Sums& sums, Indices indices, Weights weights, Pixel pixel) {
        sums = _mm512_dpbf16_ps(sums, (__m512bh)choose(indices, pixel), weights);
    }
};

}  // namespace
}  // namespace enmesh::products

#include "products/permuted/permuted_impl.hpp"

namespace enmesh::products {

const PermutedLoops permuted_avx512_bf16 = ENMESH_PERMUTED_LOOPS("avx512_bf16");

}  // namespace enmesh::products
