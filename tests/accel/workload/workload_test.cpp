#include "accel/small_network.hpp"

#include <gtest/gtest.h>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel {
namespace {

/// Tap meetings counted one by one: for each input position, the taps whose (position + pad − tap·dilation)
/// the stride divides.
int64_t counted_bp(const ConvGeometry& c) {
    int64_t total = 0;
    for (int64_t y = 0; y < c.in_height; ++y)
        for (int64_t x = 0; x < c.in_width; ++x)
            for (int64_t r = 0; r < c.kernel_height; ++r)
                for (int64_t s = 0; s < c.kernel_width; ++s)
                    if ((y + c.pad_top - r * c.dilation_height + 1000 * c.stride_height) % c.stride_height ==
                            0 &&
                        (x + c.pad_left - s * c.dilation_width + 1000 * c.stride_width) % c.stride_width == 0)
                        ++total;
    return total * c.images * c.in_channels * c.out_channels;
}

TEST(Workload, GivesTheContractsDimensions) {
    const auto products = training_products("conv", conv(4, 16, 8, 32, 3, 1, 1));
    ASSERT_EQ(products.size(), 3U);
    EXPECT_EQ(products[0].m, 4 * 64);
    EXPECT_EQ(products[0].n, 32);
    EXPECT_EQ(products[0].k, 16 * 9);
    EXPECT_EQ(products[1].m, 4 * 64);
    EXPECT_EQ(products[1].n, 16);
    EXPECT_EQ(products[1].k, 32 * 9);
    EXPECT_EQ(products[2].m, 32);
    EXPECT_EQ(products[2].n, 16 * 9);
    EXPECT_EQ(products[2].k, 4 * 64);
    for (const Product& product : products) check(product);
}

TEST(Workload, StridedBackwardSkipsInsertedZeros) {
    Random random(7);
    for (int trial = 0; trial < 300; ++trial) {
        const auto draw = [&](uint64_t low, uint64_t high) {
            return static_cast<int64_t>(low + random.below(high - low + 1));
        };
        const int64_t kernel = draw(1, 5), dilation = draw(1, 2);
        const ConvGeometry c =
            conv(draw(1, 3), draw(1, 4), draw(9, 16), draw(1, 4), kernel, draw(1, 3), draw(0, 2), dilation);
        const Product bp = training_products("c", c)[1];
        EXPECT_EQ(dense_multiply_adds(bp), counted_bp(c))
            << "kernel " << kernel << " stride " << c.stride_height;
    }
}

TEST(Workload, EvenStrideTwoBackwardCountsWhatForwardCounts) {
    const auto products = training_products("c", conv(2, 8, 16, 8, 3, 2, 1));
    EXPECT_EQ(dense_multiply_adds(products[1]), dense_multiply_adds(products[0]));
    EXPECT_EQ(phases(products[1]).size(), 4U);
    // A 1×1 kernel at stride 2 reaches a quarter of the input.
    const auto point = training_products("p", conv(2, 8, 16, 8, 1, 2, 0));
    ASSERT_EQ(phases(point[1]).size(), 1U);
    EXPECT_EQ(phases(point[1])[0].rows, 2 * 8 * 8);
}

TEST(Workload, SparseProductsCountKeptElements) {
    Product p{"l", Stage::FF, 10, 4, 32};
    p.sparse = Operand::b;
    p.pattern = {2, 8};
    EXPECT_EQ(useful_multiply_adds(p), 10 * 4 * 8);
    p.k = 35;  // the tail of three is dense
    EXPECT_EQ(useful_multiply_adds(p), 10 * 4 * 11);
    EXPECT_EQ(dense_multiply_adds(p), 10 * 4 * 35);
}

TEST(Workload, RefusesContradictions) {
    Product p{"l", Stage::FF, 0, 4, 32};
    EXPECT_THROW(check(p), Error);
    Product q = training_products("c", conv(2, 8, 16, 8, 3, 2, 1))[0];
    q.k += 1;
    EXPECT_THROW(check(q), Error);
    EXPECT_THROW(check(Workload{}), Error);
}

}  // namespace
}  // namespace enmesh::accel
