#pragma once

#include <cstdint>
#include <cstdlib>
#include <numeric>

#include "enmesh/base/arithmetic.hpp"
#include "products/micro/micro.hpp"

namespace enmesh::products {

/// A map as loops see it: channel planes of h x w pixels.
struct Map {
    int64_t channels, h, w;
};

/// How a batch-blocked map's pixels fill vectors: a pixel of the layout is cut into `parts` of
/// `pixel_floats`, and a vector holds `pixels` neighbouring pixels' parts. An image block's part is called a
/// plane.
struct LanePlan {
    int64_t block = 1, pixel_floats = 1, parts = 1, pixels = 1;

    LanePlan(int64_t block_size, int lanes)
        : block(block_size),
          pixel_floats(std::gcd<int64_t>(block_size, lanes)),
          parts(block_size / pixel_floats),
          pixels(lanes / pixel_floats) {}

    int64_t planes(int64_t images) const { return images / block * parts; }
    /// Where a plane's first channel begins in a map.
    int64_t plane_start(int64_t plane, int64_t channels, int64_t area) const {
        return plane / parts * channels * area * block + plane % parts * pixel_floats;
    }
};

/// Appends a run, merged with the one before if it goes on where that ended.
inline void add_run(CopyRun* runs, int64_t& count, int64_t pixel_stride, int64_t pixel_floats, int64_t from,
                    int64_t to, int64_t pixels) {
    if (count > 0) {
        CopyRun& last = runs[count - 1];
        if ((last.pixels < 0) == (pixels < 0) && last.to + std::abs(last.pixels) * pixel_floats == to &&
            (pixels < 0 || last.from + last.pixels * pixel_stride == from)) {
            last.pixels += static_cast<int32_t>(pixels);
            return;
        }
    }
    runs[count++] = {from, static_cast<int32_t>(to), static_cast<int32_t>(pixels)};
}

/// The pixels x, x + step, ... of row y of a plane, zeros where they lie outside of the h x w map.
struct RowWindow {
    int64_t y, x, step, pixels;
};
inline void add_row(CopyRun* runs, int64_t& count, const LanePlan& lanes, int64_t plane_start, int64_t h,
                    int64_t w, const RowWindow& row, int64_t to) {
    int64_t before = row.x < 0 ? ceil_div(-row.x, row.step) : 0;
    if (before > row.pixels || row.y < 0 || row.y >= h || row.x >= w) before = row.pixels;
    int64_t inside = 0;
    if (before < row.pixels) inside = ceil_div(w - row.x, row.step) - before;
    if (inside < 0) inside = 0;
    if (inside > row.pixels - before) inside = row.pixels - before;
    const int64_t after = row.pixels - before - inside;
    if (before > 0) add_run(runs, count, 0, lanes.pixel_floats, 0, to, -before);
    to += before * lanes.pixel_floats;
    if (inside > 0) {
        add_run(runs, count, row.step * lanes.block, lanes.pixel_floats,
                plane_start + (row.y * w + row.x + before * row.step) * lanes.block, to, inside);
    }
    to += inside * lanes.pixel_floats;
    if (after > 0) add_run(runs, count, 0, lanes.pixel_floats, 0, to, -after);
}

}  // namespace enmesh::products
