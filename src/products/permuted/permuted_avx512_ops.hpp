#pragma once

// What the two AVX-512 copies of the inner loops have in common.

#include <immintrin.h>

#include <cstdint>

#define ENMESH_UNROLL _Pragma("GCC unroll 32")

namespace enmesh::products {
namespace {

struct Avx512Loads {
    using Pixel = __m512i;
    using Indices = __m512i;
    using Sums = __m512;
    using Live = __mmask8;

    static Live live(uint32_t bit) { return static_cast<Live>(-static_cast<int32_t>(bit)); }

    // The mask costs nothing: the second half has to be inserted anyhow.
    static Pixel load(const uint16_t* at, int64_t plane, Live live) {
        const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
        const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + plane));
        return _mm512_maskz_inserti64x4(live, _mm512_castsi256_si512(low), high, 1);
    }
    static Pixel load_half(const uint16_t* at, Live live) {
        return _mm512_maskz_loadu_epi64(live & 0x0f, at);
    }
    static Indices load_indices(const uint16_t* at) { return _mm512_loadu_si512(at); }
    static __m512i choose(Indices indices, Pixel pixel) { return _mm512_permutexvar_epi16(indices, pixel); }

    static void clear(Sums& sums) { sums = _mm512_setzero_ps(); }
    static void pin(Sums& sums) { asm volatile("" : "+v"(sums)); }
    static Sums with_bias(Sums sums, const float* bias) {
        return bias != nullptr ? _mm512_add_ps(sums, _mm512_loadu_ps(bias)) : sums;
    }
    static void store(float* out, Sums sums, const float* bias) {
        _mm512_storeu_ps(out, with_bias(sums, bias));
    }
    static void stream(float* out, Sums sums, const float* bias) {
        _mm512_stream_ps(out, with_bias(sums, bias));
    }
};

}  // namespace
}  // namespace enmesh::products
