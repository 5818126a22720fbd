// Winograd's F(4x4, 3x3) (Lavin and Gray 2016) in the batch-blocked layout: transforms are element-wise over
// the lanes, so they need no shuffles. FF and BP are 36 matrix products of transformed weights and patches;
// WG is the same with transformed output gradients and patches, summed over tiles and lanes. A quarter of the
// direct multiplies.

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"
#include "products/select/runs.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t points = 36, patch = 6, out_patch = 4;
constexpr int64_t group_width = 12;       // tile vectors in one matrix product
constexpr int64_t tile_bytes = 24 << 10;  // of patches that stay in L1 while all rows pass
constexpr int64_t dense_rows = 4;
// Neighbouring points are kept an odd number of cache lines apart, lest all 36 fall into one cache set.
constexpr int64_t apart_floats = 16;

// The tiles of all planes, in order of plane, row and column.
class Tiles {
  public:
    Tiles(const Conv& conv, const LanePlan& lanes, int64_t out_h, int64_t out_w)
        : lanes_(lanes),
          planes_(lanes.planes(conv.n)),
          rows_(ceil_div(out_h, out_patch)),
          columns_(ceil_div(out_w, out_patch)) {}

    int64_t count() const { return planes_ * rows_ * columns_; }

    // Tile `index` as a size x size patch of a map, whose first pixel is that of the output patch plus (dy,
    // dx).
    WinogradTile at(int64_t index, const Map& map, int64_t size, int64_t dy, int64_t dx, int64_t flat) const {
        const int64_t plane = index / (rows_ * columns_);
        const int64_t y = index / columns_ % rows_ * out_patch + dy, x = index % columns_ * out_patch + dx;
        WinogradTile tile;
        tile.origin = lanes_.plane_start(plane, map.channels, map.h * map.w) + (y * map.w + x) * lanes_.block;
        tile.flat = flat;
        tile.y_begin = static_cast<int32_t>(std::clamp<int64_t>(-y, 0, size));
        tile.x_begin = static_cast<int32_t>(std::clamp<int64_t>(-x, 0, size));
        tile.y_end = static_cast<int32_t>(std::clamp<int64_t>(map.h - y, 0, size));
        tile.x_end = static_cast<int32_t>(std::clamp<int64_t>(map.w - x, 0, size));
        return tile;
    }

  private:
    LanePlan lanes_;
    int64_t planes_, rows_, columns_;
};

WinogradArgs map_strides(const Map& map, int64_t block) {
    WinogradArgs args;
    args.map_channel = map.h * map.w * block;
    args.map_row = map.w * block;
    args.map_pixel = block;
    return args;
}

// The 6 x 3 transform of a filter's rows or columns, on a cache line of filters: four rows of four channels.
constexpr int64_t line_channels = 4, line_filters = line_channels * dense_rows;
typedef float Line __attribute__((vector_size(4 * line_filters)));

void transform_filter(const std::array<Line, 9>& filter, std::array<Line, 36>& out) {
    const auto transform = [](const Line& a, const Line& b, const Line& c, Line* to, int64_t step) {
        const Line even = (a + c) * (-1.0F / 6.0F), odd = b * (-1.0F / 6.0F);
        const Line even2 = a * (1.0F / 24.0F) + c * (1.0F / 6.0F), odd2 = b * (1.0F / 12.0F);
        to[0] = a * 0.25F;
        to[step] = even + odd;
        to[2 * step] = even - odd;
        to[3 * step] = even2 + odd2;
        to[4 * step] = even2 - odd2;
        to[5 * step] = c;
    };
    std::array<Line, 18> rows;
    for (int x = 0; x < 3; ++x) transform(filter[x], filter[3 + x], filter[6 + x], &rows[x], 3);
    for (int y = 0; y < 6; ++y) transform(rows[y * 3], rows[y * 3 + 1], rows[y * 3 + 2], &out[y * 6], 1);
}

class Winograd final : public Product {
  public:
    Winograd(const Problem& problem, const MicroKernels& micro)
        : Product(problem),
          micro_(micro),
          lanes_(problem.block, micro.lanes),
          ff_(problem.stage == Stage::ff),
          in_(ff_ ? Map{problem.conv.c, problem.conv.h, problem.conv.w}
                  : Map{problem.conv.k, problem.conv.out_h(), problem.conv.out_w()}),
          out_(ff_ ? Map{problem.conv.k, problem.conv.out_h(), problem.conv.out_w()}
                   : Map{problem.conv.c, problem.conv.h, problem.conv.w}),
          tiles_(problem.conv, lanes_, out_.h, out_.w) {
        const Conv& conv = problem.conv;
        dy_ = ff_ ? -conv.pad_top : conv.pad_top - 2;
        dx_ = ff_ ? -conv.pad_left : conv.pad_left - 2;
        rows_ = round_up(out_.channels, dense_rows);
        const int64_t per_tile = points * (in_.channels + rows_) * micro.lanes * 4;
        const int64_t groups = std::clamp<int64_t>((8 << 20) / (per_tile * group_width), 2, 8);
        chunks_ = ceil_div(tiles_.count(), groups * group_width);
        chunk_tiles_ = ceil_div(tiles_.count(), chunks_);
        block_channels_ = std::max<int64_t>(8, tile_bytes / (group_width * micro.lanes * 4));
        in_point_ = in_.channels * chunk_tiles_ * micro.lanes + apart_floats;
        out_point_ = rows_ * chunk_tiles_ * micro.lanes + apart_floats;
        weight_point_ = rows_ * in_.channels + apart_floats;
        for (int64_t width = 1; width <= group_width; ++width) {
            for (int64_t i = 0; i < block_channels_; ++i) {
                offsets_.push_back(static_cast<uint16_t>(i * width * micro.lanes * 4));
            }
        }
    }

    std::string_view kernel() const override { return "winograd"; }
    size_t workspace_bytes() const override {
        return static_cast<size_t>(points * (in_point_ + out_point_)) * 4 +
               static_cast<size_t>(chunk_tiles_) * 2 * sizeof(WinogradTile);
    }
    size_t prepared_bytes() const override { return static_cast<size_t>(points * weight_point_) * 4; }

    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        const Conv& conv = problem().conv;
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        if (weights.size() != static_cast<size_t>(conv.weights_size())) {
            fail("{}: {} dense weights, {} are needed", to_string(problem()), weights.size(),
                 conv.weights_size());
        }
        auto* const to = reinterpret_cast<float*>(prepared.data());
        parallel_for(rows_ / dense_rows, 1, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin * dense_rows; row < end * dense_rows; row += dense_rows) {
                for (int64_t first = 0; first < in_.channels; first += block_channels_) {
                    const int64_t count = std::min(block_channels_, in_.channels - first);
                    float* const block = to + first * rows_ + row * count;
                    for (int64_t i = 0; i < count; i += line_channels) {
                        prepare_line(weights, row, first + i, std::min(line_channels, count - i),
                                     block + i * dense_rows);
                    }
                }
            }
        });
    }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.prepared, prepared_bytes(), "the prepared weights");
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
            const auto [begin, end] =
                share(tiles_.count(), static_cast<int>(chunk), static_cast<int>(chunks_));
            run_chunk(arguments, begin, end);
        }
    }

  private:
    // Four rows of weights at up to four channels, the first point to `to`; BP turns the window round.
    void prepare_line(std::span<const float> weights, int64_t row, int64_t channel, int64_t channels,
                      float* to) const {
        const int64_t c = problem().conv.c;
        const int64_t row_step = ff_ ? 9 * c : 9, channel_step = ff_ ? 9 : 9 * c;
        std::array<Line, 9> filter{};
        for (int64_t j = 0; j < channels; ++j) {
            for (int64_t i = 0; i < dense_rows && row + i < out_.channels; ++i) {
                const float* const from =
                    weights.data() + (row + i) * row_step + (channel + j) * channel_step;
                for (int tap = 0; tap < 9; ++tap) {
                    filter[static_cast<size_t>(tap)][j * dense_rows + i] = from[ff_ ? tap : 8 - tap];
                }
            }
        }
        std::array<Line, 36> transformed;
        transform_filter(filter, transformed);
        const auto store = [&](size_t bytes) {
            for (int64_t p = 0; p < points; ++p)
                std::memcpy(to + p * weight_point_, &transformed[static_cast<size_t>(p)], bytes);
        };
        // A constant size becomes plain stores.
        if (channels == line_channels)
            store(sizeof(Line));
        else
            store(static_cast<size_t>(channels * dense_rows) * sizeof(float));
    }

    void run_chunk(const Arguments& arguments, int64_t begin, int64_t end) const {
        auto* const in_points = reinterpret_cast<float*>(arguments.workspace.data());
        float* const out_points = in_points + points * in_point_;
        auto* const in_tiles = reinterpret_cast<WinogradTile*>(out_points + points * out_point_);
        WinogradTile* const out_tiles = in_tiles + chunk_tiles_;
        const int64_t count = end - begin, groups = ceil_div(count, group_width), lanes = micro_.lanes;
        for (int64_t group = 0; group < groups; ++group) {
            const auto [first, last] = group_range(count, group);
            for (int64_t t = first; t < last; ++t) {
                in_tiles[t] = tiles_.at(begin + t, in_, patch, dy_, dx_, (t - first) * lanes);
                out_tiles[t] = tiles_.at(begin + t, out_, out_patch, 0, 0, (t - first) * lanes);
            }
        }
        const float* const in = ff_ ? arguments.src : arguments.diff_dst;
        parallel_for(in_.channels, 1, [&](int64_t c_begin, int64_t c_end) {
            for (int64_t group = 0; group < groups; ++group) {
                const auto [first, last] = group_range(count, group);
                WinogradArgs args = map_strides(in_, lanes_.block);
                args.src = in + c_begin * args.map_channel;
                args.flat_channel = (last - first) * lanes;
                args.flat_point = in_point_;
                args.dst = in_points + first * in_.channels * lanes + c_begin * args.flat_channel;
                args.channels = c_end - c_begin;
                args.tiles = in_tiles + first;
                args.tile_count = last - first;
                micro_.winograd_src(args);
            }
        });
        const int64_t parts = std::clamp<int64_t>(threads() / 4, 1, rows_ / dense_rows);
        parallel_for(points * groups * parts, 1, [&](int64_t task, int64_t task_end) {
            for (; task < task_end; ++task) {
                multiply(arguments, in_points, out_points, count, task / parts / groups,
                         task / parts % groups,
                         share(rows_ / dense_rows, static_cast<int>(task % parts), static_cast<int>(parts)));
            }
        });
        parallel_for(out_.channels, 1, [&](int64_t k_begin, int64_t k_end) {
            for (int64_t group = 0; group < groups; ++group) {
                const auto [first, last] = group_range(count, group);
                WinogradArgs args = map_strides(out_, lanes_.block);
                args.flat_channel = (last - first) * lanes;
                args.flat_point = out_point_;
                args.src = out_points + first * rows_ * lanes + k_begin * args.flat_channel;
                args.dst = arguments.out + k_begin * args.map_channel;
                args.channels = k_end - k_begin;
                args.tiles = out_tiles + first;
                args.tile_count = last - first;
                args.relu = arguments.epilogue.relu;
                if (arguments.epilogue.bias != nullptr) args.bias = arguments.epilogue.bias + k_begin;
                micro_.winograd_dst(args);
            }
        });
    }

    static std::pair<int64_t, int64_t> group_range(int64_t count, int64_t group) {
        return {group * group_width, std::min(count, (group + 1) * group_width)};
    }

    // One point's matrix product for one group of tiles and a share of the rows.
    void multiply(const Arguments& arguments, const float* in_points, float* out_points, int64_t count,
                  int64_t point, int64_t group, std::pair<int64_t, int64_t> fours) const {
        const auto [first, last] = group_range(count, group);
        const int64_t width = last - first, row = fours.first * dense_rows;
        const auto* const weights =
            reinterpret_cast<const float*>(arguments.prepared.data()) + point * weight_point_;
        const float* const in = in_points + point * in_point_ + first * in_.channels * micro_.lanes;
        PanelArgs panel{
            .offsets = offsets_.data() + (width - 1) * block_channels_,
            .rows = (fours.second - fours.first) * dense_rows,
            .width = static_cast<int>(width),
            .sums = out_points + point * out_point_ + (first * rows_ + row * width) * micro_.lanes};
        for (int64_t channel = 0; channel < in_.channels; channel += block_channels_) {
            panel.tile = in + channel * width * micro_.lanes;
            panel.count = std::min(block_channels_, in_.channels - channel);
            panel.values = weights + channel * rows_ + row * panel.count;
            panel.first = channel == 0;
            micro_.dense_panel(panel);
        }
    }

    const MicroKernels& micro_;
    LanePlan lanes_;
    bool ff_;
    Map in_, out_;
    Tiles tiles_;
    int64_t dy_ = 0, dx_ = 0, rows_ = 0, chunks_ = 1, chunk_tiles_ = 1, block_channels_ = 1;
    int64_t in_point_ = 0, out_point_ = 0, weight_point_ = 0;
    std::vector<uint16_t> offsets_;  // [width - 1][channel of a block]
};

class WinogradWeights final : public Product {
  public:
    WinogradWeights(const Problem& problem, const MicroKernels& micro)
        : Product(problem),
          micro_(micro),
          lanes_(problem.block, micro.lanes),
          src_{problem.conv.c, problem.conv.h, problem.conv.w},
          dst_{problem.conv.k, problem.conv.out_h(), problem.conv.out_w()},
          tiles_(problem.conv, lanes_, dst_.h, dst_.w) {
        // Long sums hide the reduction over the lanes at their end.
        const int64_t per_tile = points * (src_.channels + dst_.channels) * micro.lanes * 4;
        const int64_t most = std::clamp<int64_t>((40 << 20) / per_tile, 24, 64);
        chunks_ = ceil_div(tiles_.count(), most);
        chunk_tiles_ = ceil_div(tiles_.count(), chunks_);
        channel_floats_ = chunk_tiles_ * micro.lanes;
        src_point_ = src_.channels * channel_floats_ + apart_floats;
        dst_point_ = dst_.channels * channel_floats_ + apart_floats;
        out_point_ = dst_.channels * src_.channels + apart_floats;
        block_channels_ = std::max<int64_t>(3, (18 << 10) / (channel_floats_ * 4) / 3 * 3);
        for (int64_t i = 0; i < block_channels_; ++i)
            offsets_.push_back(static_cast<int32_t>(i * channel_floats_));
    }

    std::string_view kernel() const override { return "winograd"; }
    size_t workspace_bytes() const override {
        return static_cast<size_t>(points * (src_point_ + dst_point_ + out_point_)) * 4 +
               static_cast<size_t>(chunk_tiles_) * 2 * sizeof(WinogradTile);
    }
    size_t prepared_bytes() const override { return 0; }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        auto* const sums =
            reinterpret_cast<float*>(arguments.workspace.data()) + points * (src_point_ + dst_point_);
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
            const auto [begin, end] =
                share(tiles_.count(), static_cast<int>(chunk), static_cast<int>(chunks_));
            run_chunk(arguments, sums, begin, end);
        }
        parallel_for(dst_.channels, 1, [&](int64_t begin, int64_t end) {
            for (int64_t k = begin; k < end; ++k) {
                micro_.winograd_weights(sums + k * src_.channels, out_point_, src_.channels,
                                        arguments.out + k * src_.channels * 9);
            }
        });
    }

  private:
    void run_chunk(const Arguments& arguments, float* sums, int64_t begin, int64_t end) const {
        const Conv& conv = problem().conv;
        auto* const src_points = reinterpret_cast<float*>(arguments.workspace.data());
        float* const dst_points = src_points + points * src_point_;
        auto* const src_tiles = reinterpret_cast<WinogradTile*>(sums + points * out_point_);
        WinogradTile* const dst_tiles = src_tiles + chunk_tiles_;
        const int64_t count = end - begin;
        for (int64_t t = 0; t < count; ++t) {
            src_tiles[t] = tiles_.at(begin + t, src_, patch, -conv.pad_top, -conv.pad_left, t * micro_.lanes);
            dst_tiles[t] = tiles_.at(begin + t, dst_, out_patch, 0, 0, t * micro_.lanes);
        }
        parallel_for(src_.channels + dst_.channels, 1, [&](int64_t c_begin, int64_t c_end) {
            const int64_t split = src_.channels;
            if (c_begin < split) {
                transform(src_, arguments.src, src_tiles, count, c_begin, std::min(c_end, split), src_points,
                          src_point_, micro_.winograd_src);
            }
            if (c_end > split) {
                transform(dst_, arguments.diff_dst, dst_tiles, count, std::max(c_begin, split) - split,
                          c_end - split, dst_points, dst_point_, micro_.winograd_diff);
            }
        });
        const int64_t fours = ceil_div(dst_.channels, dense_rows);
        const int64_t parts = std::clamp<int64_t>(threads() / 4, 1, fours);
        parallel_for(points * parts, 1, [&](int64_t task, int64_t task_end) {
            for (; task < task_end; ++task) {
                const int64_t point = task / parts;
                multiply(src_points + point * src_point_, dst_points + point * dst_point_,
                         sums + point * out_point_, count, begin > 0,
                         share(fours, static_cast<int>(task % parts), static_cast<int>(parts)));
            }
        });
    }

    void transform(const Map& map, const float* from, const WinogradTile* tiles, int64_t count, int64_t begin,
                   int64_t end, float* to, int64_t point_stride, WinogradFn function) const {
        WinogradArgs args = map_strides(map, lanes_.block);
        args.src = from + begin * args.map_channel;
        args.dst = to + begin * channel_floats_;
        args.channels = end - begin;
        args.flat_channel = channel_floats_;
        args.flat_point = point_stride;
        args.tiles = tiles;
        args.tile_count = count;
        function(args);
    }

    void multiply(const float* src, const float* dst, float* out, int64_t count, bool accumulate,
                  std::pair<int64_t, int64_t> fours) const {
        const int32_t line = 0;
        OuterArgs args{.row_stride = channel_floats_,
                       .column_offsets = offsets_.data(),
                       .lines = 1,
                       .line_vectors = count,
                       .line_offsets = &line,
                       .out_stride = src_.channels,
                       .accumulate = accumulate};
        for (int64_t channel = 0; channel < src_.channels; channel += block_channels_) {
            args.columns = src + channel * channel_floats_;
            args.column_count = std::min(block_channels_, src_.channels - channel);
            for (int64_t row = fours.first * dense_rows;
                 row < std::min(fours.second * dense_rows, dst_.channels); row += dense_rows) {
                args.rows = dst + row * channel_floats_;
                args.row_count = static_cast<int>(std::min(dense_rows, dst_.channels - row));
                args.out = out + row * src_.channels + channel;
                micro_.outer(args);
            }
        }
    }

    const MicroKernels& micro_;
    LanePlan lanes_;
    Map src_, dst_;
    Tiles tiles_;
    int64_t chunks_ = 1, chunk_tiles_ = 1, channel_floats_ = 0, block_channels_ = 3;
    int64_t src_point_ = 0, dst_point_ = 0, out_point_ = 0;
    std::vector<int32_t> offsets_;
};

}  // namespace

bool winograd_allowed() {
    const char* const text = std::getenv("ENMESH_WINOGRAD");
    return text == nullptr || std::string_view(text) != "0";
}

std::string decline_winograd(const Problem& problem, const MicroKernels& micro) {
    const Conv& conv = problem.conv;
    if (!winograd_allowed()) return "ENMESH_WINOGRAD=0";
    if (conv.r != 3 || conv.s != 3) return "the window is not 3x3";
    if (conv.stride_h != 1 || conv.stride_w != 1) return "the stride is not 1";
    if (conv.dilation_h != 1 || conv.dilation_w != 1) return "the window is dilated";
    if (conv.groups != 1) return "grouped convolution";
    if (problem.block % micro.lanes != 0) return "an image block does not fill a vector";
    if (std::min(conv.c, conv.k) < 16) return "fewer than 16 channels";
    const int64_t h = problem.stage == Stage::bp ? conv.h : conv.out_h();
    const int64_t w = problem.stage == Stage::bp ? conv.w : conv.out_w();
    if (points * ceil_div(h, out_patch) * ceil_div(w, out_patch) > 5 * h * w)
        return "the image is too small for its tiles";
    return {};
}

std::unique_ptr<Product> make_winograd(const Problem& problem, const MicroKernels& micro) {
    if (problem.stage == Stage::wg) return std::make_unique<WinogradWeights>(problem, micro);
    return std::make_unique<Winograd>(problem, micro);
}

}  // namespace enmesh::products
