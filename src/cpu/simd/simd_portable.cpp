#define ENMESH_SIMD_WIDTH 4
#define ENMESH_SIMD_TABLE simd_portable
#include "cpu/simd/simd_impl.hpp"
