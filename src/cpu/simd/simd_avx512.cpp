#define ENMESH_SIMD_WIDTH 16
#define ENMESH_SIMD_TABLE simd_avx512
#include "cpu/simd/simd_impl.hpp"
