// How many distinct values a tile of a convolution's im2col operand holds. Output pixels are boxes of images,
// rows and columns; the (r, s, c) axis is cut anywhere, so that different channels of a tile may meet
// different kernel positions.

#include <algorithm>
#include <numeric>
#include <vector>

#include "accel/sat/up_to_two.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

using Source = Piece::Source;

/// Positions of the input that `outputs` consecutive outputs reach along one axis, at most `limit`: by `taps`
/// consecutive taps, or by those of them below `low` and from `high` on.
class Reach {
  public:
    Reach(int64_t outputs, int64_t stride, int64_t dilation, int64_t limit)
        : outputs_(outputs), stride_(stride), dilation_(dilation), limit_(limit) {}

    int64_t by(int64_t taps) const {
        if (taps <= 0) return 0;
        if (stride_ == 1 || dilation_ == 1) return std::min({extent(taps), outputs_ * taps, limit_});
        return marked(taps, [](int64_t) { return true; });
    }

    int64_t by_ends(int64_t taps, int64_t low, int64_t high) const {
        if (low >= high) return by(taps);
        return marked(taps, [&](int64_t tap) { return tap < low || tap >= high; });
    }

  private:
    int64_t extent(int64_t taps) const { return (outputs_ - 1) * stride_ + (taps - 1) * dilation_ + 1; }

    template <typename Has>
    int64_t marked(int64_t taps, const Has& has) const {
        std::vector<bool> seen(static_cast<size_t>(extent(taps)));
        for (int64_t tap = 0; tap < taps; ++tap) {
            if (!has(tap)) continue;
            for (int64_t o = 0; o < outputs_; ++o)
                seen[static_cast<size_t>(o * stride_ + tap * dilation_)] = true;
        }
        return std::min<int64_t>(std::count(seen.begin(), seen.end(), true), limit_);
    }

    int64_t outputs_, stride_, dilation_, limit_;
};

/// Output pixels that the loader fetches the input of in one go.
struct Box {
    int64_t images = 1, height = 1, width = 1;
};

/// Input pixels that a box and the kernel positions [begin, end), counted row by row, reach.
int64_t reached(const Source& s, const Box& box, int64_t begin, int64_t end) {
    if (begin >= end) return 0;
    const Reach down(box.height, s.stride_height, s.dilation_height, s.in_rows),
        across(box.width, s.stride_width, s.dilation_width, s.in_cols);
    const int64_t first_row = begin / s.taps_width, last_row = (end - 1) / s.taps_width;
    const int64_t high = begin % s.taps_width, low = (end - 1) % s.taps_width + 1;
    if (first_row == last_row) return box.images * down.by(1) * across.by(low - high);
    const bool first_is_part = high > 0, last_is_part = low < s.taps_width;
    const int64_t whole = last_row - first_row + 1 - (first_is_part ? 1 : 0) - (last_is_part ? 1 : 0);
    // Input rows by which kernel rows reach them: a whole one; else the part at one end or both.
    const int64_t by_whole = down.by(whole), by_end = down.by(whole + 1) - by_whole;
    int64_t sum = by_whole * across.by(s.taps_width);
    if (first_is_part && last_is_part) {
        const int64_t by_both = 2 * by_end - (down.by(whole + 2) - by_whole);
        sum += (by_end - by_both) * (across.by(s.taps_width - high) + across.by(low)) +
               by_both * across.by_ends(s.taps_width, low, high);
    } else if (first_is_part) {
        sum += by_end * across.by(s.taps_width - high);
    } else if (last_is_part) {
        sum += by_end * across.by(low);
    }
    return box.images * sum;
}

/// Values that a box and the part [begin, end) of the (r, s, c) axis hold.
int64_t held(const Source& s, const Box& box, int64_t begin, int64_t end) {
    const int64_t first = begin / s.channels, last = (end - 1) / s.channels;
    const int64_t from = begin % s.channels, to = (end - 1) % s.channels + 1;
    if (first == last) return (to - from) * reached(s, box, first, last + 1);
    // Channels below `to` meet the last position, those from `from` on the first one.
    const int64_t low = std::min(from, to), high = std::max(from, to);
    return low * reached(s, box, first + 1, last + 1) +
           (high - low) * (from < to ? reached(s, box, first, last + 1) : reached(s, box, first + 1, last)) +
           (s.channels - high) * reached(s, box, first, last);
}

/// A tile of pixels as boxes: two where it may cross the end of a row or of an image, of the sizes that hold
/// most.
UpToTwo<Box> boxes(const Source& s, Span pixels) {
    const int64_t image = s.out_rows * s.out_cols;
    if (pixels.size >= image) return UpToTwo<Box>({ceil_div(pixels.size, image), s.out_rows, s.out_cols});
    if (pixels.size >= s.out_cols) {
        const int64_t rows = ceil_div(pixels.size, s.out_cols);
        if (pixels.shorter || s.images == 1 || s.out_rows % rows == 0)
            return UpToTwo<Box>({1, rows, s.out_cols});
        return {{1, rows / 2, s.out_cols}, {1, rows - rows / 2, s.out_cols}};
    }
    if (pixels.shorter || s.images * s.out_rows == 1 || s.out_cols % pixels.size == 0)
        return UpToTwo<Box>({1, 1, pixels.size});
    return {{1, 1, pixels.size / 2}, {1, 1, pixels.size - pixels.size / 2}};
}

}  // namespace

int64_t Piece::Source::values(Span rows, Span depth) const {
    if (!im2col) return rows.size * depth.size;
    const Span& taps = rows_are_pixels ? depth : rows;
    const int64_t positions = taps_height * taps_width * channels, across = taps_width * channels;
    const UpToTwo<Box> pixels = boxes(*this, rows_are_pixels ? rows : depth);
    const auto most = [&](int64_t begin) {
        int64_t sum = 0;
        for (const Box& box : pixels) sum += held(*this, box, begin, begin + taps.size);
        return sum;
    };
    ENMESH_ASSERT(taps.size > 0 && taps.size <= positions);
    int64_t largest = 0;
    if (taps.shorter) {
        largest = most(positions - taps.size);
    } else {
        // Tiles that begin alike within a kernel row hold the same, and so do all that stay within a
        // position.
        const bool alike = positions == channels || channels % taps.size == 0;
        const int64_t tiles =
            alike ? 1 : std::min(positions / taps.size, across / std::gcd(taps.size, across));
        for (int64_t i = 0; i < tiles; ++i) largest = std::max(largest, most(i * taps.size));
    }
    return std::min(largest, rows.size * depth.size);
}

bool Piece::Source::cuts_pixels(int64_t tile) const {
    const int64_t image = out_rows * out_cols;
    if (tile >= image) return tile % image == 0;
    return tile < out_cols || tile % out_cols == 0;
}

}  // namespace enmesh::accel::sat
