#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace enmesh {

/// A counter-based generator: value i of a stream is a pure function of (seed, stream, i), so that results
/// depend neither on threads nor on order. SplitMix64's finaliser over a Weyl sequence (Steele, Lea, Flood
/// 2014).
struct Random {
    uint64_t key = 0;
    uint64_t counter = 0;

    explicit Random(uint64_t seed, uint64_t stream = 0)
        : key(mix(seed + 0x9e3779b97f4a7c15ULL * (stream + 1))) {}

    static constexpr uint64_t mix(uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    uint64_t at(uint64_t index) const { return mix(key + 0x9e3779b97f4a7c15ULL * (index + 1)); }
    uint64_t next() { return at(counter++); }

    /// Uniform in [0, 1), 24 bits.
    static float unit(uint64_t bits) { return static_cast<float>(bits >> 40) * 0x1p-24F; }
    float uniform() { return unit(next()); }
    float uniform(float low, float high) { return low + (high - low) * uniform(); }
    /// Uniform in [0, count) without modulo bias worth naming (128-bit multiply).
    uint64_t below(uint64_t count) {
        __extension__ using Wide = unsigned __int128;
        return static_cast<uint64_t>((static_cast<Wide>(next()) * count) >> 64);
    }
    /// Standard normal (Box-Muller, one value a call).
    float normal() {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(next() >> 11) * 0x1p-53));
        const double angle = 2.0 * std::numbers::pi * static_cast<double>(next() >> 11) * 0x1p-53;
        return static_cast<float>(radius * std::cos(angle));
    }
};

}  // namespace enmesh
