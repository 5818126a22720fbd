#include "cpu/simd/simd.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "enmesh/base/random.hpp"

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

}  // namespace
}  // namespace enmesh::cpu
