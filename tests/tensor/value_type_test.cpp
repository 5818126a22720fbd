#include "enmesh/tensor/value_type.hpp"

#include <gtest/gtest.h>

#include <string>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

constexpr int64_t large = int64_t{1} << 31;

TEST(Shape, CountsItsElementsOrRefuses) {
    EXPECT_EQ(Shape{}.elements(), 1);
    EXPECT_EQ((Shape{2, 3, 5}.elements()), 30);
    EXPECT_EQ((Shape{large, large}.elements()), int64_t{1} << 62);
    EXPECT_EQ((Shape{large, large, large, 0}.elements()), 0);
    try {
        Shape{large, large, 2, 1}.elements();
        ADD_FAILURE() << "2^63 elements were counted";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::request);
        EXPECT_NE(std::string(error.what()).find("2147483648x2147483648x2x1 has more elements"),
                  std::string::npos)
            << error.what();
    }
    // The product wraps to a small positive number.
    EXPECT_THROW((Shape{int64_t{1} << 33, int64_t{1} << 31, 3}.elements()), Error);
}

TEST(ValueType, CountsItsBytesOrRefuses) {
    const auto bytes = [](Shape shape, DType dtype, Sparsity sparsity = {}) {
        return ValueType{std::move(shape), dtype, sparsity}.bytes();
    };
    EXPECT_EQ(bytes({3, 5}, DType::f32), 60);
    EXPECT_THROW(bytes({large, large}, DType::f32), Error);
    // 2 of 4: one and a quarter times half of the elements, in bytes of float32 and one index each.
    const NmSparsity two_of_four{{2, 4}, GroupAxis::input_channels};
    EXPECT_EQ(bytes({8, 16}, DType::f32, two_of_four), 8 * 8 * 5);
    EXPECT_THROW(bytes({large, large}, DType::f32, two_of_four), Error);
}

}  // namespace
}  // namespace enmesh
