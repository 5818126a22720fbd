#include <cstdint>
#include <cstring>

namespace enmesh::products {
namespace {

// Plain loops over the same streams; a pair of bfloat16 travels as one 32-bit word, the first in its lower
// half.
struct Ops {
    static constexpr int lanes = 16;

    struct Pixel {
        uint16_t channel[32];
    };
    struct Sums {
        float lane[lanes];
    };
    using Indices = const uint16_t*;
    using Weights = const uint16_t*;
    using Live = bool;

    static Live live(uint32_t bit) { return bit != 0; }

    static Pixel load(const uint16_t* at, int64_t plane, Live live) {
        Pixel pixel = load_half(at, live);
        if (live) std::memcpy(pixel.channel + 16, at + plane, 32);
        return pixel;
    }
    static Pixel load_half(const uint16_t* at, Live live) {
        Pixel pixel{};
        if (live) std::memcpy(pixel.channel, at, 32);
        return pixel;
    }
    static Indices load_indices(const uint16_t* at) { return at; }
    static Weights load_weights(const uint16_t* at) { return at; }

    static float first(uint32_t pair) { return float_of(pair << 16); }
    static float second(uint32_t pair) { return float_of(pair & 0xffff0000U); }
    static float float_of(uint32_t bits) {
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }

    static void multiply(Sums& sums, Indices indices, Weights weights, const Pixel& pixel) {
        uint32_t chosen[lanes], kept[lanes];
        for (int lane = 0; lane < lanes; ++lane) {
            chosen[lane] = pixel.channel[indices[2 * lane]] |
                           static_cast<uint32_t>(pixel.channel[indices[2 * lane + 1]]) << 16;
            kept[lane] = weights[2 * lane] | static_cast<uint32_t>(weights[2 * lane + 1]) << 16;
        }
        for (int lane = 0; lane < lanes; ++lane) {
            const float sum = sums.lane[lane] + second(chosen[lane]) * second(kept[lane]);
            sums.lane[lane] = sum + first(chosen[lane]) * first(kept[lane]);
        }
    }
    static void clear(Sums& sums) { sums = {}; }
    static void pin(Sums&) {}
    static void store(float* out, const Sums& sums, const float* bias) {
        for (int lane = 0; lane < lanes; ++lane)
            out[lane] = bias == nullptr ? sums.lane[lane] : sums.lane[lane] + bias[lane];
    }
    static void stream(float* out, const Sums& sums, const float* bias) { store(out, sums, bias); }
};

}  // namespace
}  // namespace enmesh::products

#define ENMESH_UNROLL _Pragma("GCC unroll 1")
#include "products/permuted/permuted_impl.hpp"

namespace enmesh::products {

const PermutedLoops permuted_portable = ENMESH_PERMUTED_LOOPS("portable");

}  // namespace enmesh::products
