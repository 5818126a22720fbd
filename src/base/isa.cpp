#include "enmesh/base/isa.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "base/isa_features.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

#if defined(__x86_64__)
bool supports_avx512f() { return __builtin_cpu_supports("avx512f") != 0; }
bool supports_avx512bw() { return __builtin_cpu_supports("avx512bw") != 0; }
bool supports_avx512vl() { return __builtin_cpu_supports("avx512vl") != 0; }
bool supports_avx512dq() { return __builtin_cpu_supports("avx512dq") != 0; }
bool supports_avx2() { return __builtin_cpu_supports("avx2") != 0; }
bool supports_fma() { return __builtin_cpu_supports("fma") != 0; }
/// Clang's __builtin_cpu_supports does not know this one. Beside AVX2, which the system must have enabled.
bool supports_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

}  // namespace

Isa hardware_isa() {
#if defined(__x86_64__)
#define ENMESH_AND_SUPPORTS(feature) &&supports_##feature()
    if (true ENMESH_AVX512_FEATURES(ENMESH_AND_SUPPORTS)) return Isa::avx512;
    if (true ENMESH_AVX2_FEATURES(ENMESH_AND_SUPPORTS)) return Isa::avx2;
#undef ENMESH_AND_SUPPORTS
#endif
    return Isa::portable;
}

Isa isa() {
    static const Isa capped = [] {
        const char* const text = std::getenv("ENMESH_ISA");
        if (text == nullptr || *text == '\0') return hardware_isa();
        for (const Isa candidate : {Isa::portable, Isa::avx2, Isa::avx512}) {
            if (to_string(candidate) == text) return std::min(candidate, hardware_isa());
        }
        refuse("ENMESH_ISA='{}' is unknown (known: portable, avx2, avx512)", text);
    }();
    return capped;
}

bool has_avx512_bf16() {
#if defined(__x86_64__)
    return isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

int vector_lanes(Isa isa) {
    switch (isa) {
        case Isa::portable:
            return 4;
        case Isa::avx2:
            return 8;
        case Isa::avx512:
            return 16;
    }
    return 4;
}

std::string to_string(Isa isa) {
    switch (isa) {
        case Isa::portable:
            return "portable";
        case Isa::avx2:
            return "avx2";
        case Isa::avx512:
            return "avx512";
    }
    return "portable";
}

std::string cpu_description() {
    std::ifstream cpuinfo("/proc/cpuinfo");
    std::string model = "unknown CPU", family;
    for (std::string line; std::getline(cpuinfo, line);) {
        const size_t colon = line.find(": ");
        if (colon == std::string::npos) continue;
        if (line.starts_with("model name")) model = line.substr(colon + 2);
        if (line.starts_with("cpu family")) family = line.substr(colon + 2);
        if (line.empty()) break;
    }
    return fmt::format("{} (family {}), {} cores, {}", model, family, std::thread::hardware_concurrency(),
                       to_string(hardware_isa()));
}

}  // namespace enmesh
