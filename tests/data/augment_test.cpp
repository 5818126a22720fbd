#include "enmesh/data/augment.hpp"

#include <gtest/gtest.h>

#include <map>

#include "files.hpp"

namespace enmesh::data {
namespace {

constexpr ImageShape shape{2, 3, 4};

std::vector<uint8_t> counting_image() {
    std::vector<uint8_t> src(static_cast<size_t>(shape.pixels()));
    for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<uint8_t>(i + 1);
    return src;
}

/// Pixel p becomes p in channel 0 and p + 100 in channel 1, so that expectations read themselves.
const Normalizer plain({{0, -100}, {1, 1}}, 1);

std::vector<float> apply(const Augmentation& augmentation, const Draw& choices) {
    std::vector<float> dst(static_cast<size_t>(shape.pixels()), -1);
    augment(counting_image(), shape, plain, augmentation, choices, dst);
    return dst;
}

TEST(Augment, NormalisesInDoublePrecision) {
    const Normalizer normalizer({{0.25, 0.5}, {0.5, 0.125}}, 16);
    EXPECT_EQ(normalizer.table(0)[8], (0.5F - 0.25F) / 0.5F);
    EXPECT_EQ(normalizer.table(1)[16], 4.0F);
}

TEST(Augment, NothingIsNothing) {
    const std::vector<float> dst = apply({}, {});
    for (size_t i = 0; i < 12; ++i) EXPECT_EQ(dst[i], static_cast<float>(i + 1));
    for (size_t i = 12; i < 24; ++i) EXPECT_EQ(dst[i], static_cast<float>(i + 101));
}

TEST(Augment, CropPadsWithZeroPixels) {
    const Augmentation augmentation{.crop_padding = 2};
    EXPECT_EQ(apply(augmentation, {.shift_y = 1, .shift_x = -2}),
              (std::vector<float>{0,   0,   5,   6,   0,   0,   9,   10,  0,   0,   0,   0,  //
                                  100, 100, 117, 118, 100, 100, 121, 122, 100, 100, 100, 100}));
    EXPECT_EQ(apply(augmentation, {.shift_y = -1, .shift_x = 1}),
              (std::vector<float>{0,   0,   0,   0,   2,   3,   4,   0,   6,   7,   8,   0,  //
                                  100, 100, 100, 100, 114, 115, 116, 100, 118, 119, 120, 100}));
}

TEST(Augment, FlipThenCutout) {
    const std::vector<float> dst =
        apply({.horizontal_flip = true, .cutout = 2}, {.flip = true, .cutout_y = 0, .cutout_x = 3});
    EXPECT_EQ(dst, (std::vector<float>{4,   3,   0, 0, 8,   7,   6,   5,   12,  11,  10,  9,  //
                                       116, 115, 0, 0, 120, 119, 118, 117, 124, 123, 122, 121}));
}

TEST(Augment, DrawsArePureAndFair) {
    const Augmentation augmentation{.crop_padding = 1, .horizontal_flip = true, .cutout = 2};
    std::map<int, int> shifts, flips;
    constexpr int draws = 9000;
    for (int image = 0; image < draws; ++image) {
        const Draw first = draw(augmentation, shape, 5, 2, image),
                   again = draw(augmentation, shape, 5, 2, image);
        ASSERT_EQ(first.shift_y, again.shift_y);
        ASSERT_EQ(first.cutout_x, again.cutout_x);
        ++shifts[first.shift_y * 10 + first.shift_x];
        ++flips[first.flip ? 1 : 0];
        ASSERT_TRUE(first.cutout_y >= 0 && first.cutout_y < shape.height);
        ASSERT_TRUE(first.cutout_x >= 0 && first.cutout_x < shape.width);
    }
    ASSERT_EQ(shifts.size(), 9U);
    for (const auto& [shift, count] : shifts) EXPECT_NEAR(count, draws / 9, 160) << shift;
    EXPECT_NEAR(flips[1], draws / 2, 250);
}

TEST(Augment, DrawsDifferBySeedEpochAndImage) {
    const Augmentation augmentation{.crop_padding = 1000};
    const auto shift = [&](uint64_t seed, int64_t epoch, int64_t image) {
        const Draw result = draw(augmentation, shape, seed, epoch, image);
        return std::pair(result.shift_y, result.shift_x);
    };
    EXPECT_NE(shift(1, 1, 1), shift(2, 1, 1));
    EXPECT_NE(shift(1, 1, 1), shift(1, 2, 1));
    EXPECT_NE(shift(1, 1, 1), shift(1, 1, 2));
}

TEST(Augment, SwitchingOneKindOnLeavesTheOthers) {
    const Draw without = draw({.crop_padding = 4}, shape, 1, 2, 3);
    const Draw with = draw({.crop_padding = 4, .horizontal_flip = true, .cutout = 3}, shape, 1, 2, 3);
    EXPECT_EQ(without.shift_y, with.shift_y);
    EXPECT_EQ(without.shift_x, with.shift_x);
    EXPECT_FALSE(without.flip);
}

TEST(Augment, Text) {
    Dataset dataset;
    dataset.name = "cifar10";
    dataset.image = {3, 32, 32};
    EXPECT_EQ(to_string(parse_augmentation("standard", dataset)), "crop=4,flip");
    EXPECT_EQ(to_string(parse_augmentation("none", dataset)), "none");
    EXPECT_EQ(parse_augmentation("cutout=8,flip", dataset), (Augmentation{0, true, 8}));
    EXPECT_CONTAINS(error_of([&] { parse_augmentation("crob=4", dataset); }), "did you mean 'crop'?");
    for (const char* text : {"crop=2,crop=3", "flip,flip", "cutout=2,flip,cutout=2"})
        EXPECT_CONTAINS(error_of([&] { parse_augmentation(text, dataset); }), "is given twice");
    for (const char* text :
         {"", "crop", "crop=0", "crop=33", "crop=-1", "crop=4x", "flip=1", "flip,", "cutout=99999999999"}) {
        EXPECT_NE(error_of([&] { parse_augmentation(text, dataset); }), "") << text;
    }
}

}  // namespace
}  // namespace enmesh::data
