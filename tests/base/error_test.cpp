#include "enmesh/base/error.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "enmesh/base/pattern.hpp"

namespace enmesh {
namespace {

TEST(Error, NearestNameIsSuggested) {
    const std::vector<std::string> known{"resnet18", "resnet50", "vgg19"};
    EXPECT_EQ(nearest_name("resnt18", known), "resnet18");
    EXPECT_EQ(nearest_name("transformer", known), "");
    EXPECT_EQ(suggestion("vgg1", known), " (did you mean 'vgg19'?)");
}

TEST(Pattern, ReadsWhatItPrints) {
    for (int m = 2; m <= Pattern::max_m; ++m) {
        for (int n = 1; n < m; ++n) EXPECT_EQ(parse_pattern(to_string(Pattern{n, m})), (Pattern{n, m}));
    }
}

TEST(Pattern, RefusesTheImpossible) {
    for (const char* text :
         {"", "2", "2:", ":8", "2:8x", "0:4", "-1:4", "4:4", "5:4", "2:17", "2:99999999999"}) {
        EXPECT_THROW(parse_pattern(text), Error) << text;
    }
}

TEST(Pattern, IndexBits) {
    EXPECT_EQ((Pattern{1, 2}).index_bits(), 1);
    EXPECT_EQ((Pattern{2, 4}).index_bits(), 2);
    EXPECT_EQ((Pattern{2, 5}).index_bits(), 3);
    EXPECT_EQ((Pattern{2, 16}).index_bits(), 4);
}

}  // namespace
}  // namespace enmesh
