#include "cpu/simd/simd.hpp"

namespace enmesh::cpu {

const Simd& simd() {
#if defined(__x86_64__)
    switch (isa()) {
        case Isa::avx512:
            return simd_avx512;
        case Isa::avx2:
            return simd_avx2;
        case Isa::portable:
            break;
    }
#endif
    return simd_portable;
}

}  // namespace enmesh::cpu
