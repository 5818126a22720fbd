#pragma once

#include <string>

namespace enmesh {

enum class Isa { portable, avx2, avx512 };

/// What this processor has, capped by ENMESH_ISA=portable|avx2|avx512 (read once; an unknown value is
/// refused).
Isa isa();
/// What this processor has, uncapped.
Isa hardware_isa();
/// Whether AVX-512 is not capped and the processor's has bfloat16 dot products.
bool has_avx512_bf16();
/// float32 lanes of the widest vector: 4 (portable, SSE2), 8, 16.
int vector_lanes(Isa isa);
std::string to_string(Isa isa);

/// "AMD EPYC 7B13, 2 cores": printed beside every measured figure.
std::string cpu_description();

}  // namespace enmesh
