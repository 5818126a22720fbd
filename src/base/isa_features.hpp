#pragma once

// What each instruction set stands for, in one place: cmake/EnmeshIsa.cmake makes the flags of these lists for
// the files that are compiled for an instruction set, and hardware_isa() asks the processor for each of them.

#define ENMESH_AVX2_FEATURES(X) X(avx2) X(fma) X(f16c)
#define ENMESH_AVX512_FEATURES(X) X(avx512f) X(avx512bw) X(avx512vl) X(avx512dq) X(fma) X(f16c)
