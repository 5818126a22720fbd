#include "products/permuted/permuted_avx512_ops.hpp"

namespace enmesh::products {
namespace {

// Without bfloat16 instructions: a pair is two floats, the first moved up, the second with the first cut off.
struct Ops : Avx512Loads {
    struct Weights {
        __m512 first, second;
    };

    static __m512 first(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
    static __m512 second(__m512i pairs) {
        const __m512i upper = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000));
        return _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
    }
    static Weights load_weights(const uint16_t* at) {
        const __m512i pairs = _mm512_loadu_si512(at);
        return {first(pairs), second(pairs)};
    }
    static void multiply(Sums& sums, Indices indices, const Weights& weights, Pixel pixel) {
        const __m512i chosen = choose(indices, pixel);
        sums = _mm512_fmadd_ps(second(chosen), weights.second, sums);
        sums = _mm512_fmadd_ps(first(chosen), weights.first, sums);
    }
};

}  // namespace
}  // namespace enmesh::products

#include "products/permuted/permuted_impl.hpp"

namespace enmesh::products {

const PermutedLoops permuted_avx512 = ENMESH_PERMUTED_LOOPS("avx512");

}  // namespace enmesh::products
