#include "enmesh/bench/fma_peak.hpp"

#include <algorithm>
#include <cstdint>

#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"

namespace enmesh::bench {
namespace {

#if defined(__x86_64__)
// Ten independent sums hide the latency of the multiply-add on every core we know.
#define ENMESH_TEN_FMAS(v)                                                                                   \
    asm volatile("vfmadd231ps %%" v "0, %%" v "0, %%" v "1\n vfmadd231ps %%" v "0, %%" v "0, %%" v           \
                 "2\n"                                                                                       \
                 "vfmadd231ps %%" v "0, %%" v "0, %%" v "3\n vfmadd231ps %%" v "0, %%" v "0, %%" v           \
                 "4\n"                                                                                       \
                 "vfmadd231ps %%" v "0, %%" v "0, %%" v "5\n vfmadd231ps %%" v "0, %%" v "0, %%" v           \
                 "6\n"                                                                                       \
                 "vfmadd231ps %%" v "0, %%" v "0, %%" v "7\n vfmadd231ps %%" v "0, %%" v "0, %%" v           \
                 "8\n"                                                                                       \
                 "vfmadd231ps %%" v "0, %%" v "0, %%" v "9\n vfmadd231ps %%" v "0, %%" v "0, %%" v "10\n" :: \
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",       \
                       "xmm10")

__attribute__((target("avx2,fma"))) void ymm_fmas(int64_t iterations) {
    for (int64_t i = 0; i < iterations; ++i) ENMESH_TEN_FMAS("ymm");
}
__attribute__((target("avx512f"))) void zmm_fmas(int64_t iterations) {
    for (int64_t i = 0; i < iterations; ++i) ENMESH_TEN_FMAS("zmm");
}
#undef ENMESH_TEN_FMAS
#endif

}  // namespace

double fma_peak_flops() {
#if defined(__x86_64__)
    if (isa() != Isa::portable) {
        // Milliseconds a round, beside which starting the team is nothing.
        constexpr int64_t iterations = 2'000'000;
        double best = 0;
        for (int round = 0; round < 7; ++round) {
            const Timer timer;
            parallel_team([](int, int) { (isa() == Isa::avx512 ? zmm_fmas : ymm_fmas)(iterations); });
            best = std::max(best, 2.0 * vector_lanes(isa()) * 10 * iterations * threads() / timer.seconds());
        }
        return best;
    }
#endif
    return 0;
}

}  // namespace enmesh::bench
