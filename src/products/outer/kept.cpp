// WG that multiplies only the kept gradients of an N:M diff_dst (MVUE). Each kept gradient of a row meets the
// window of X around its position, so the lanes must be input channels: X is transposed, a block of channels
// at a time, into tiles of single images with their halo. Then the broadcast panel serves as it is: its rows
// are rows of diff_dst, its accumulators the taps of the window (or blocks of channels, where there is one
// tap).

#include <algorithm>
#include <cstring>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/select.hpp"
#include "products/kernels.hpp"
#include "products/select/runs.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t tile_bytes = 40 << 10, max_tile_bytes = 64 << 10;

class Kept final : public Product {
  public:
    Kept(const Problem& problem, const MicroKernels& micro)
        : Product(problem),
          micro_(micro),
          lanes_(problem.block, micro.lanes),
          conv_(problem.conv),
          threads_(threads()) {
        const int64_t area = conv_.out_h() * conv_.out_w();
        if (lanes_.pixel_floats != micro.lanes) declined_ = "an image block does not fill a vector";
        if (area % problem.pattern().m != 0) declined_ = "groups straddle images";
        if (conv_.groups != 1) declined_ = "grouped convolution";
        if (conv_.dilation_w != 1) declined_ = "the window is dilated along its rows";
        if (!declined_.empty()) return;
        channel_vectors_ =
            conv_.s == 1 ? std::min<int64_t>({8, micro.max_vectors, ceil_div(conv_.c, micro.lanes)}) : 1;
        width_ = conv_.s == 1 ? channel_vectors_ : conv_.s;
        if (width_ > micro.max_vectors) {
            declined_ = "the window is wider than a panel";
            return;
        }
        height_ = std::min<int64_t>({MicroKernels::max_height, micro.max_sums / width_, conv_.r});
        if (!choose_tile(area)) return;
        lay_out(area);
    }

    const std::string& declined() const { return declined_; }
    std::string_view kernel() const override { return "kept"; }
    size_t workspace_bytes() const override {
        return static_cast<size_t>(value_bytes_ + offset_bytes_ + sum_bytes_ + threads_ * thread_bytes_);
    }
    size_t prepared_bytes() const override { return 0; }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        if (arguments.packed_diff_dst == nullptr ||
            arguments.packed_diff_dst->shape != diff_dst_shape(problem())) {
            fail("{}: no compact diff_dst of the right shape", to_string(problem()));
        }
        for (int64_t plane = 0; plane < lanes_.planes(conv_.n); ++plane) {
            parallel_for(conv_.k, 1, [&](int64_t begin, int64_t end) {
                for (int64_t row = begin; row < end; ++row) list_row(arguments, plane, row);
            });
            parallel_team([&](int thread, int team) {
                team = std::min(team, threads_);
                if (thread >= team) return;
                const auto [begin, end] = share(channel_blocks_, thread, team);
                for (int64_t block = begin; block < end; ++block) run_block(arguments, plane, block, thread);
            });
        }
        parallel_for(conv_.k, 1, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) finish_row(arguments, row);
        });
    }

  private:
    // Rows of output that one tile serves: its window fits the cache, and no group straddles two tiles.
    bool choose_tile(int64_t area) {
        const int64_t m = problem().pattern().m, ow = conv_.out_w();
        pixel_bytes_ = channel_vectors_ * micro_.lanes * 4;
        tile_width_ = (ow - 1) * conv_.stride_w + conv_.s;
        for (int64_t rows = conv_.out_h(); rows >= 1; --rows) {
            if (conv_.out_h() % rows != 0 || rows * ow % m != 0) continue;
            tile_rows_ = (rows - 1) * conv_.stride_h + (conv_.r - 1) * conv_.dilation_h + 1;
            rows_ = rows;
            if (tile_rows_ * tile_width_ * pixel_bytes_ <= tile_bytes) break;
        }
        image_bytes_ = tile_rows_ * tile_width_ * pixel_bytes_;
        if (image_bytes_ > max_tile_bytes) {
            declined_ = "the window of one range of rows is larger than a tile may be";
            return false;
        }
        ranges_ = conv_.out_h() / rows_;
        kept_ = rows_ * ow / m * problem().pattern().n;
        // Small images share a tile, so that a row's list is long enough to pay for its sums.
        images_ = 1;
        while (ranges_ == 1 && images_ < micro_.lanes && images_ * 2 * image_bytes_ <= tile_bytes)
            images_ *= 2;
        (void)area;
        return true;
    }

    void lay_out(int64_t area) {
        const int64_t taps_of_block = conv_.taps() * channel_vectors_ * micro_.lanes;
        channel_blocks_ = ceil_div(conv_.c, channel_vectors_ * micro_.lanes);
        const int64_t kept_of_plane = conv_.k * micro_.lanes * ranges_ * kept_;
        value_bytes_ = round_up(kept_of_plane * 4, 64);
        offset_bytes_ = round_up(kept_of_plane * 2 + 64, 64);
        sum_floats_ = conv_.k * taps_of_block;
        sum_bytes_ = round_up(channel_blocks_ * sum_floats_ * 4, 64);
        thread_bytes_ = round_up(micro_.lanes * image_bytes_ + 64, 64);
        for (int64_t position = 0; position < area; ++position) {
            const int64_t y = position / conv_.out_w() % rows_, x = position % conv_.out_w();
            const int64_t offset = (y * conv_.stride_h * tile_width_ + x * conv_.stride_w) * pixel_bytes_;
            offsets_.push_back(static_cast<uint16_t>(offset));
        }
    }

    float* values(const Arguments& arguments) const {
        return reinterpret_cast<float*>(arguments.workspace.data());
    }
    uint16_t* offsets(const Arguments& arguments) const {
        return reinterpret_cast<uint16_t*>(arguments.workspace.data() + value_bytes_);
    }
    float* sums(const Arguments& arguments, int64_t block) const {
        return reinterpret_cast<float*>(arguments.workspace.data() + value_bytes_ + offset_bytes_) +
               block * sum_floats_;
    }
    int64_t image_of(int64_t plane, int64_t lane) const {
        return plane / lanes_.parts * lanes_.block + plane % lanes_.parts * lanes_.pixel_floats + lane;
    }

    // The plane's kept gradients of one row: [tile][row][kept of its images].
    void list_row(const Arguments& arguments, int64_t plane, int64_t row) const {
        const PackedView& packed = *arguments.packed_diff_dst;
        const auto [n, m] = packed.shape.pattern;
        const int64_t area = conv_.out_h() * conv_.out_w(), groups = packed.shape.groups(),
                      per_tile = images_ * kept_;
        for (int64_t lane = 0; lane < micro_.lanes; ++lane) {
            const int64_t shift = lane % images_ * image_bytes_;
            for (int64_t range = 0; range < ranges_; ++range) {
                const int64_t first_group =
                    (image_of(plane, lane) * area + range * rows_ * conv_.out_w()) / m;
                const int64_t from = (row * groups + first_group) * n;
                const int64_t tile = lane / images_ * ranges_ + range;
                const int64_t to = (tile * conv_.k + row) * per_tile + lane % images_ * kept_;
                std::memcpy(values(arguments) + to, packed.values.data() + from,
                            static_cast<size_t>(kept_) * 4);
                uint16_t* const offset = offsets(arguments) + to;
                for (int64_t i = 0; i < kept_; ++i) {
                    const int64_t position =
                        range * rows_ * conv_.out_w() + i / n * m + packed.indices[from + i];
                    offset[i] = static_cast<uint16_t>(offsets_[static_cast<size_t>(position)] + shift);
                }
            }
        }
    }

    void run_block(const Arguments& arguments, int64_t plane, int64_t block, int thread) const {
        float* const tiles = reinterpret_cast<float*>(arguments.workspace.data() + value_bytes_ +
                                                      offset_bytes_ + sum_bytes_ + thread * thread_bytes_);
        const int64_t per_tile = images_ * kept_, image_floats = image_bytes_ / 4;
        for (int64_t range = 0; range < ranges_; ++range) {
            transpose_range(arguments, plane, block, range, tiles);
            for (int64_t group = 0; group < micro_.lanes / images_; ++group) {
                const int64_t list = (group * ranges_ + range) * conv_.k * per_tile;
                PanelArgs panel{.values = values(arguments) + list,
                                .offsets = offsets(arguments) + list,
                                .rows = conv_.k,
                                .count = per_tile,
                                .row_pitch = conv_.dilation_h * tile_width_ * pixel_bytes_,
                                .first = plane == 0 && range == 0 && group == 0,
                                .last = false};
                float* to = sums(arguments, block);
                for (int64_t r = 0; r < conv_.r; r += height_) {
                    const int64_t height = std::min(height_, conv_.r - r);
                    panel.tile = tiles + group * images_ * image_floats +
                                 r * conv_.dilation_h * tile_width_ * pixel_bytes_ / 4;
                    panel.sums = to;
                    to += conv_.k * height * width_ * micro_.lanes;
                    micro_.panel[height - 1][width_ - 1](panel);
                }
            }
        }
    }

    // X of the plane's images around a range of output rows, channels in the lanes: [image][y][x][channel].
    void transpose_range(const Arguments& arguments, int64_t plane, int64_t block, int64_t range,
                         float* tiles) const {
        const int64_t area = conv_.h * conv_.w, b = lanes_.block, lanes = micro_.lanes;
        const float* const map = arguments.src + lanes_.plane_start(plane, conv_.c, area);
        const int64_t pixel_floats = pixel_bytes_ / 4, image_floats = image_bytes_ / 4;
        const int64_t x_begin = std::min(conv_.pad_left, tile_width_);
        const int64_t x_end = std::clamp<int64_t>(conv_.w + conv_.pad_left, x_begin, tile_width_);
        for (int64_t row = 0; row < tile_rows_; ++row) {
            const int64_t y = range * rows_ * conv_.stride_h - conv_.pad_top + row;
            const bool inside = y >= 0 && y < conv_.h;
            float* const line = tiles + row * tile_width_ * pixel_floats;
            for (int64_t image = 0; image < lanes; ++image) {
                float* const at = line + image * image_floats;
                const int64_t zeros = inside ? x_begin : tile_width_;
                std::fill_n(at, zeros * pixel_floats, 0.0F);
                if (inside)
                    std::fill_n(at + x_end * pixel_floats, (tile_width_ - x_end) * pixel_floats, 0.0F);
            }
            if (!inside) continue;
            for (int64_t vector = 0; vector < channel_vectors_; ++vector) {
                const int64_t channel = (block * channel_vectors_ + vector) * lanes;
                const int64_t x = x_begin - conv_.pad_left;
                micro_.transpose({.from = map + channel * area * b + (y * conv_.w + x) * b,
                                  .from_row = area * b,
                                  .from_block = b,
                                  .to = line + x_begin * pixel_floats + vector * lanes,
                                  .to_row = image_floats,
                                  .to_block = pixel_floats,
                                  .rows = std::clamp<int64_t>(conv_.c - channel, 0, lanes),
                                  .columns = lanes,
                                  .count = x_end - x_begin});
            }
        }
    }

    // One filter's sums from [channel block][pass][row][tap of the pass][lane] to KCRS.
    void finish_row(const Arguments& arguments, int64_t row) const {
        const int64_t taps = conv_.taps(), lanes = micro_.lanes;
        for (int64_t channel = 0; channel < conv_.c; ++channel) {
            const int64_t vector = channel / lanes, block = vector / channel_vectors_;
            for (int64_t tap = 0; tap < taps; ++tap) {
                const int64_t r = tap / conv_.s, pass = r / height_ * height_;
                const int64_t height = std::min(height_, conv_.r - pass);
                const int64_t column = conv_.s == 1 ? vector % channel_vectors_ : tap % conv_.s;
                const int64_t at = conv_.k * pass * width_ + (row * height + r - pass) * width_ + column;
                arguments.out[(row * conv_.c + channel) * taps + tap] =
                    sums(arguments, block)[at * lanes + channel % lanes];
            }
        }
    }

    const MicroKernels& micro_;
    LanePlan lanes_;
    Conv conv_;
    int threads_;
    std::string declined_;
    int64_t channel_vectors_ = 1, channel_blocks_ = 1;  // channels of a block, in vectors; how many blocks
    int64_t height_ = 1, width_ = 1;                    // accumulators of a panel
    int64_t rows_ = 1, ranges_ = 1,
            kept_ = 0;    // output rows of a tile, tiles of an image, kept of a row's tile
    int64_t images_ = 1;  // in a tile
    int64_t tile_rows_ = 1, tile_width_ = 1, pixel_bytes_ = 0, image_bytes_ = 0;
    int64_t value_bytes_ = 0, offset_bytes_ = 0, sum_floats_ = 0, sum_bytes_ = 0, thread_bytes_ = 0;
    std::vector<uint16_t> offsets_;  // of an output position's window in its tile
};

}  // namespace

std::string decline_kept(const Problem& problem, const MicroKernels& micro) {
    return Kept(problem, micro).declined();
}

std::unique_ptr<Product> make_kept(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<Kept>(problem, micro);
}

}  // namespace enmesh::products
