#include <gtest/gtest.h>

#include <array>
#include <set>

#include "accel/draw.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {
namespace {

using Source = Piece::Source;

/// An operand whose windows reach exactly its input.
Source random_source(Random& random) {
    Source s;
    s.im2col = true;
    s.images = draw(random, 1, 3);
    s.out_rows = draw(random, 1, 6);
    s.out_cols = draw(random, 1, 6);
    s.taps_height = draw(random, 1, 4);
    s.taps_width = draw(random, 1, 4);
    s.channels = draw(random, 1, 6);
    s.stride_height = draw(random, 1, 3);
    s.stride_width = draw(random, 1, 3);
    s.dilation_height = draw(random, 1, 3);
    s.dilation_width = draw(random, 1, 3);
    s.in_rows = (s.out_rows - 1) * s.stride_height + (s.taps_height - 1) * s.dilation_height + 1;
    s.in_cols = (s.out_cols - 1) * s.stride_width + (s.taps_width - 1) * s.dilation_width + 1;
    return s;
}

struct Part {
    int64_t begin, size;
};

/// Distinct values of a tile, element by element; those of another box, if `by_box`, are others. A tile of
/// less than an image is cut into boxes where an image ends, one of less than a row where a row ends.
int64_t counted(const Source& s, const Part& pixels, const Part& taps, bool by_box) {
    std::set<std::array<int64_t, 5>> seen;
    for (int64_t p = pixels.begin; p < pixels.begin + pixels.size; ++p) {
        const int64_t column = p % s.out_cols, row = p / s.out_cols % s.out_rows,
                      image = p / s.out_cols / s.out_rows;
        const int64_t box = by_box && pixels.size < s.out_cols ? p / s.out_cols : 0;
        for (int64_t t = taps.begin; t < taps.begin + taps.size; ++t) {
            const int64_t channel = t % s.channels, across = t / s.channels % s.taps_width,
                          down = t / s.channels / s.taps_width;
            seen.insert({box, image, row * s.stride_height + down * s.dilation_height,
                         column * s.stride_width + across * s.dilation_width, channel});
        }
    }
    return static_cast<int64_t>(seen.size());
}

std::vector<Part> parts(int64_t size, int64_t tile) {
    std::vector<Part> result;
    for (int64_t begin = 0; begin < size; begin += tile)
        result.push_back({begin, std::min(tile, size - begin)});
    return result;
}

/// A way to cut the pixels that the loader has, and whether a tile may cross an end.
int64_t pixel_tile(Random& random, const Source& s, bool& crosses) {
    crosses = false;
    switch (random.below(3)) {
        case 0:
            return draw(random, 1, s.images) * s.out_rows * s.out_cols;
        case 1: {
            const int64_t rows = draw(random, 1, s.out_rows);
            crosses = s.out_rows % rows != 0 && s.images > 1;
            return rows * s.out_cols;
        }
        default: {
            const int64_t columns = draw(random, 1, s.out_cols);
            crosses = columns < s.out_cols && s.out_cols % columns != 0 && s.images * s.out_rows > 1;
            return columns;
        }
    }
}

TEST(OperandTiles, HoldTheLargestTileOfTheirSize) {
    Random random(17);
    int exact = 0, crossing = 0, shorter = 0;
    for (int trial = 0; trial < 3000; ++trial) {
        Source s = random_source(random);
        s.rows_are_pixels = random.below(2) == 0;
        const int64_t all_pixels = s.images * s.out_rows * s.out_cols,
                      all_taps = s.taps_height * s.taps_width * s.channels;
        bool crosses = false;
        const int64_t tile_pixels = pixel_tile(random, s, crosses), tile_taps = draw(random, 1, all_taps);
        ASSERT_TRUE(s.cuts_pixels(tile_pixels));
        const auto kind = [](const Part& part, int64_t tile) { return Span{part.size, part.size < tile}; };
        // The largest of each kind of tile: 2 * (pixels' last and shorter) + (taps' last and shorter).
        std::array<int64_t, 4> most{}, told{};
        for (const Part& pixels : parts(all_pixels, tile_pixels)) {
            for (const Part& taps : parts(all_taps, tile_taps)) {
                const Span p = kind(pixels, tile_pixels), t = kind(taps, tile_taps);
                const size_t at = 2 * (p.shorter ? 1U : 0U) + (t.shorter ? 1U : 0U);
                told[at] = s.rows_are_pixels ? s.values(p, t) : s.values(t, p);
                most[at] = std::max(most[at], counted(s, pixels, taps, true));
                ASSERT_GE(told[at], counted(s, pixels, taps, false)) << trial;
            }
        }
        for (size_t at = 0; at < 4; ++at) {
            if (crosses && at < 2) {
                ASSERT_GE(told[at], most[at]) << trial;
                ++crossing;
            } else {
                ASSERT_EQ(told[at], most[at]) << trial << " kind " << at;
                ++exact;
                if (at > 0 && most[at] > 0) ++shorter;
            }
        }
    }
    EXPECT_GT(exact, 5000);
    EXPECT_GT(crossing, 500);
    EXPECT_GT(shorter, 1000);
}

TEST(OperandTiles, ByHand) {
    Source s;
    s.im2col = true;
    s.images = 2;
    s.out_rows = s.out_cols = 4;
    s.in_rows = s.in_cols = 6;
    s.taps_height = s.taps_width = 3;
    s.channels = 8;
    EXPECT_EQ(s.values(32, 72), 2 * 6 * 6 * 8);
    // Three rows of four: some tiles lie across the images' end, as one row and two.
    EXPECT_EQ(s.values(12, 72), (3 + 4) * 6 * 8);
    EXPECT_EQ(s.values(Span{8, true}, Span{72}), 4 * 6 * 8);
    // One and a half positions: all channels at one column of the window, half of them at the next one too.
    EXPECT_EQ(s.values(8, 12), 4 * 2 * 4 + 4 * 2 * 5);
    EXPECT_FALSE(s.cuts_pixels(6));
    EXPECT_FALSE(s.cuts_pixels(24));
    EXPECT_TRUE(s.cuts_pixels(3));
}

}  // namespace
}  // namespace enmesh::accel::sat
