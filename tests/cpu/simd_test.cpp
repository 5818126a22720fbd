#include "cpu/simd/simd.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/streaming.hpp"

namespace enmesh::cpu {
namespace {

std::vector<const Simd*> tables() {
    std::vector<const Simd*> usable{&simd_portable};
#if defined(__x86_64__)
    if (hardware_isa() >= Isa::avx2) usable.push_back(&simd_avx2);
    if (hardware_isa() >= Isa::avx512) usable.push_back(&simd_avx512);
#endif
    return usable;
}

std::vector<float> numbers(size_t count, uint64_t seed, float scale = 1.0F) {
    std::vector<float> values(count);
    Random random(seed);
    for (float& value : values) value = scale * random.normal();
    return values;
}

constexpr size_t lengths[] = {1, 7, 15, 16, 17, 33, 100, 5000};

TEST(Simd, GeluAndItsGradient) {
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            const std::vector<float> x = numbers(count, 1, 3.0F), dy = numbers(count, 2);
            std::vector<float> y(count), dx(count);
            table->gelu(x.data(), y.data(), static_cast<int64_t>(count));
            table->gelu_backward(x.data(), dy.data(), dx.data(), static_cast<int64_t>(count));
            for (size_t i = 0; i < count; ++i) {
                const double v = static_cast<double>(x[i]), phi = 0.5 * (1 + std::erf(v / std::sqrt(2.0)));
                const double density = std::exp(-v * v / 2) / std::sqrt(2 * 3.14159265358979323846);
                EXPECT_NEAR(static_cast<double>(y[i]), v * phi, 2e-6);
                EXPECT_NEAR(static_cast<double>(dx[i]), static_cast<double>(dy[i]) * (phi + v * density),
                            5e-6);
            }
        }
    }
}

TEST(Simd, RoundingToBfloat16) {
    std::vector<float> x = numbers(5000, 4, 100.0F);
    const float nan = std::numeric_limits<float>::quiet_NaN(), huge = std::numeric_limits<float>::max();
    // 1 + 1/256 and 1 + 3/256 lie halfway: to even. The largest float32 becomes an infinity.
    const std::vector<float> special{nan, -nan, 1.0F / 0.0F, huge, 1.00390625F, 1.01171875F, -0.0F, 1e-40F};
    std::copy(special.begin(), special.end(), x.begin() + 3);
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            std::vector<uint16_t> narrow(count);
            std::vector<float> wide(count);
            table->to_bf16(x.data(), narrow.data(), static_cast<int64_t>(count));
            table->round_to_bf16(x.data(), wide.data(), static_cast<int64_t>(count));
            for (size_t i = 0; i < count; ++i) {
                const BFloat16 want = to_bfloat16(x[i]);
                EXPECT_EQ(narrow[i], want.bits);
                EXPECT_EQ(std::bit_cast<uint32_t>(wide[i]), static_cast<uint32_t>(want.bits) << 16);
            }
        }
    }
}

TEST(Simd, SoftmaxOfExtremesAndNan) {
    for (const Simd* table : tables()) {
        const std::vector<float> x{1000.0F, 0.0F, -1000.0F, 999.0F, 998.5F};
        std::vector<float> y(x.size());
        table->softmax(x.data(), y.data(), static_cast<int64_t>(x.size()));
        double sum = 0;
        for (const float value : y) sum += static_cast<double>(value);
        EXPECT_NEAR(sum, 1.0, 1e-6);
        EXPECT_NEAR(static_cast<double>(y[3] / y[0]), std::exp(-1.0), 1e-6);
        EXPECT_EQ(y[2], 0.0F);
        std::vector<float> bad = x;
        bad[1] = std::numeric_limits<float>::quiet_NaN();
        table->softmax(bad.data(), y.data(), static_cast<int64_t>(x.size()));
        EXPECT_TRUE(std::isnan(y[0]));
    }
}

// The largest is looked for by vectors: one NaN, wherever it stands, makes the whole row NaN, and the largest
// finite value is found at any place, so that nothing overflows.
TEST(Simd, SoftmaxFindsTheLargestAnywhere) {
    for (const Simd* table : tables()) {
        for (const size_t count : {1, 2, 7, 8, 15, 16, 17, 31, 33, 48, 65, 100}) {
            const std::vector<float> x = numbers(count, 14);
            std::vector<float> y(count);
            for (size_t at = 0; at < count; ++at) {
                std::vector<float> row = x;
                row[at] = 10000.0F;
                table->softmax(row.data(), y.data(), static_cast<int64_t>(count));
                for (size_t i = 0; i < count; ++i) EXPECT_EQ(y[i], i == at ? 1.0F : 0.0F) << i << ' ' << at;
                for (const float bad :
                     {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
                    row[at] = bad;
                    table->softmax(row.data(), y.data(), static_cast<int64_t>(count));
                    for (size_t i = 0; i < count; ++i) EXPECT_TRUE(std::isnan(y[i])) << i << ' ' << at;
                }
                row[at] = -std::numeric_limits<float>::infinity();
                table->softmax(row.data(), y.data(), static_cast<int64_t>(count));
                for (size_t i = 0; i < count; ++i) {
                    if (count == 1)
                        EXPECT_TRUE(std::isnan(y[i]));
                    else if (i == at)
                        EXPECT_EQ(y[i], 0.0F) << i;
                    else
                        EXPECT_GT(y[i], 0.0F) << i;
                }
            }
        }
    }
}

/// A run of `count` floats, `shift` floats behind a cache line, between lines that must not change.
struct Run {
    Run(size_t count, size_t shift) : memory((16 + shift + count + 16) * sizeof(float)), begin(16 + shift) {
        for (float& value : memory.as<float>()) value = 12345.0F;
    }
    float* data() { return memory.as<float>().data() + begin; }
    Buffer memory;
    size_t begin;
};

/// A norm's three passes over x, g1, g2 and z that begin `shift` floats behind a cache line, as are results.
std::vector<float> norm_results(const Simd& table, size_t count, size_t shift, bool second, bool stream) {
    const auto input = [&](uint64_t seed) {
        Run run(count, shift);
        const std::vector<float> values = numbers(count, seed);
        std::copy(values.begin(), values.end(), run.data());
        return run;
    };
    Run x = input(20), g1 = input(21), g2 = input(22), z = input(23);
    Run y(count, shift), dy(count, shift), dx(count, shift);
    const std::vector<float> a = numbers(lanes, 24), b = numbers(lanes, 25), c = numbers(lanes, 26);
    std::vector<double> sum(lanes), product(lanes);
    const auto size = static_cast<int64_t>(count);
    table.norm_apply(x.data(), second ? g2.data() : nullptr, y.data(), size, a.data(), b.data(), second,
                     stream);
    const NormGradient gradient{g1.data(), second ? g2.data() : nullptr, second ? z.data() : nullptr};
    table.norm_backward_sums(gradient, x.data(), second ? dy.data() : nullptr, size, a.data(), sum.data(),
                             product.data(), stream);
    table.norm_backward_apply(gradient, x.data(), dx.data(), size, a.data(), b.data(), c.data(), stream);
    finish_streaming();
    std::vector<float> results(sum.begin(), sum.end());
    results.insert(results.end(), product.begin(), product.end());
    for (const Run* run : {&y, &dy, &dx})
        results.insert(results.end(), run->memory.as<float>().begin() + static_cast<std::ptrdiff_t>(shift),
                       run->memory.as<float>().end());
    return results;
}

TEST(Simd, StreamedNormsAreTheSameBits) {
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            for (const bool second : {false, true}) {
                for (const size_t shift : {0, 1, 4, 8, 15}) {
                    const std::vector<float> want = norm_results(*table, count, 0, second, false);
                    const std::vector<float> got = norm_results(*table, count, shift, second, true);
                    ASSERT_EQ(want.size(), got.size());
                    EXPECT_EQ(0, std::memcmp(want.data(), got.data(), want.size() * sizeof(float)))
                        << count << " floats, shift " << shift;
                }
            }
        }
    }
}

TEST(Simd, NormSumsKeepLanesApart) {
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            const std::vector<float> x = numbers(count, 4);
            const std::vector<float> shift = numbers(lanes, 5);
            std::vector<double> sum(lanes), squares(lanes), want(lanes), want_squares(lanes);
            table->norm_sums(x.data(), static_cast<int64_t>(count), shift.data(), sum.data(), squares.data());
            for (size_t i = 0; i < count; ++i) {
                const double d = static_cast<double>(x[i]) - static_cast<double>(shift[i % lanes]);
                want[i % lanes] += d;
                want_squares[i % lanes] += d * d;
            }
            for (size_t l = 0; l < lanes; ++l) {
                EXPECT_NEAR(sum[l], want[l], 1e-3);
                EXPECT_NEAR(squares[l], want_squares[l], 1e-2);
            }
        }
    }
}

TEST(Simd, AllFiniteSeesEveryPlace) {
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            std::vector<float> x = numbers(count, 6);
            EXPECT_TRUE(table->all_finite(x.data(), static_cast<int64_t>(count)));
            for (const float bad :
                 {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
                x[count / 2] = bad;
                EXPECT_FALSE(table->all_finite(x.data(), static_cast<int64_t>(count)));
            }
        }
    }
}

TEST(Simd, ReluKeepsNan) {
    const std::vector<float> ones(lanes, 1.0F), zeros(lanes);
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            const auto size = static_cast<int64_t>(count);
            const std::vector<float> x = numbers(count, 13), nothing(count);
            for (size_t at = 0; at < count; at += count / 3 + 1) {
                std::vector<float> bad = x, y(count), normed(count), summed(count);
                bad[at] = std::numeric_limits<float>::quiet_NaN();
                table->relu(bad.data(), y.data(), size);
                table->norm_apply(bad.data(), nullptr, normed.data(), size, ones.data(), zeros.data(), true,
                                  false);
                table->norm_apply(nothing.data(), bad.data(), summed.data(), size, ones.data(), zeros.data(),
                                  true, false);
                for (size_t i = 0; i < count; ++i) {
                    for (const float got : {y[i], normed[i], summed[i]}) {
                        if (i == at)
                            EXPECT_TRUE(std::isnan(got)) << i;
                        else
                            EXPECT_EQ(got, std::max(x[i], 0.0F)) << i;
                    }
                }
            }
        }
    }
}

TEST(Simd, AdamwIsTheDefinition) {
    const AdamCoefficients c{.learning_rate = 0.01F,
                             .gradient_scale = 0.5F,
                             .beta1 = 0.9F,
                             .beta2 = 0.99F,
                             .epsilon = 1e-6F,
                             .weight_decay = 0.1F,
                             .correction1 = 1 / (1 - 0.9F * 0.9F),
                             .correction2 = 1 / (1 - 0.99F * 0.99F)};
    for (const Simd* table : tables()) {
        for (const size_t count : lengths) {
            const std::vector<float> g = numbers(count, 9), w = numbers(count, 10), m = numbers(count, 11);
            std::vector<float> v = numbers(count, 12), nw = w, nm = m, nv;
            for (float& x : v) x = std::abs(x);
            nv = v;
            table->adamw(nw.data(), g.data(), nm.data(), nv.data(), static_cast<int64_t>(count), c);
            for (size_t i = 0; i < count; ++i) {
                const double d = 0.5 * static_cast<double>(g[i]);
                const double first = 0.9 * static_cast<double>(m[i]) + 0.1 * d;
                const double second = 0.99 * static_cast<double>(v[i]) + 0.01 * d * d;
                const double step = first / (1 - 0.81) / (std::sqrt(second / (1 - 0.9801)) + 1e-6);
                const double weight =
                    static_cast<double>(w[i]) - 0.01 * (step + 0.1 * static_cast<double>(w[i]));
                EXPECT_NEAR(static_cast<double>(nm[i]), first, 1e-6);
                EXPECT_NEAR(static_cast<double>(nv[i]), second, 1e-6);
                EXPECT_NEAR(static_cast<double>(nw[i]), weight, 2e-6 * (1 + std::abs(0.01 * step)));
            }
        }
    }
}

/// Windows that tile the plane, overlap, leave gaps and hang over the edge.
std::vector<PoolPlane> pool_planes() {
    std::vector<PoolPlane> planes;
    for (const int block : {1, 5, 8, 16, 19}) {
        planes.push_back({6, 8, 3, 4, 2, 2, 2, 2, 0, 0, block});
        planes.push_back({7, 9, 3, 4, 2, 2, 2, 2, 0, 0, block});
        planes.push_back({7, 7, 4, 4, 3, 3, 2, 2, 1, 1, block});
        planes.push_back({8, 7, 3, 3, 2, 1, 3, 3, 0, 0, block});
        planes.push_back({5, 4, 5, 3, 3, 2, 1, 2, 1, 1, block});
    }
    // Rows long enough for neighbouring windows to fill the lanes of every register.
    planes.push_back({9, 75, 5, 38, 3, 3, 2, 2, 1, 1, 1});
    planes.push_back({6, 41, 6, 41, 3, 3, 1, 1, 1, 1, 1});
    planes.push_back({4, 130, 2, 65, 2, 2, 2, 2, 0, 0, 1});
    planes.push_back({4, 100, 2, 33, 2, 3, 2, 3, 0, 0, 1});
    return planes;
}

/// Where lane `l` of the window of output pixel (y, x) has its maximum.
size_t maximum_at(const PoolPlane& p, const std::vector<float>& src, int64_t y, int64_t x, size_t l) {
    const int64_t top = y * p.stride_h - p.pad_top, left = x * p.stride_w - p.pad_left;
    size_t best = src.size();
    for (int64_t h = std::max<int64_t>(0, top); h < std::min(p.h, top + p.kernel_h); ++h) {
        for (int64_t w = std::max<int64_t>(0, left); w < std::min(p.w, left + p.kernel_w); ++w) {
            const size_t at = static_cast<size_t>((h * p.w + w) * p.block) + l;
            if (best == src.size() || src[at] > src[best]) best = at;
        }
    }
    return best;
}

TEST(Simd, MaxPoolBackwardGivesEachMaximumItsGradient) {
    for (const Simd* table : tables()) {
        for (const PoolPlane& p : pool_planes()) {
            const auto src_count = static_cast<size_t>(p.h * p.w * p.block);
            const auto dst_count = static_cast<size_t>(p.oh * p.ow * p.block);
            const std::vector<float> src = numbers(src_count, 7), dy = numbers(dst_count, 8);
            std::vector<float> dst(dst_count), dx(src_count, 42.0F), want(src_count);
            std::vector<uint8_t> places(dst_count);
            table->max_pool(p, src.data(), dst.data(), places.data());
            table->max_pool_backward(p, dy.data(), places.data(), dx.data());
            for (size_t out = 0; out < dst_count; ++out) {
                const auto pixel = static_cast<int64_t>(out) / p.block;
                const size_t best =
                    maximum_at(p, src, pixel / p.ow, pixel % p.ow, out % static_cast<size_t>(p.block));
                ASSERT_EQ(dst[out], src[best]);
                want[best] += dy[out];
            }
            for (size_t i = 0; i < src_count; ++i) ASSERT_NEAR(dx[i], want[i], 1e-6) << i;
        }
    }
}

}  // namespace
}  // namespace enmesh::cpu
