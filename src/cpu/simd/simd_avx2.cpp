#define ENMESH_SIMD_WIDTH 8
#define ENMESH_SIMD_TABLE simd_avx2
#include "cpu/simd/simd_impl.hpp"
