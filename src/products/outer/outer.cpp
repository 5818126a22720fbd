// WG as outer products: dW[k][(c, r, s)] sums dY[k] * X[c] shifted, over positions that lie in the vector
// lanes. A chunk of positions is packed, windows of X with their halo, and then four rows of dY meet three
// columns of X at a time. Threads own parts of dW, so that its bits do not depend on how many there are.

#include <algorithm>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"
#include "products/select/runs.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t rows_at_once = 4;
constexpr int64_t column_bytes = 14 << 10;  // of X that stay in L1 while all rows pass

class Outer final : public Product {
  public:
    Outer(const Problem& problem, const MicroKernels& micro)
        : Product(problem), micro_(micro), lanes_(problem.block, micro.lanes), threads_(threads()) {
        const Conv& conv = problem.conv;
        pointwise_ = conv.taps() == 1;
        row_vectors_ = ceil_div(conv.out_w(), lanes_.pixels);
        const int64_t planes = lanes_.planes(conv.n);
        if (pointwise_) {
            const int64_t vectors = ceil_div(planes * conv.out_h() * conv.out_w(), lanes_.pixels);
            chunks_ = ceil_div(vectors, 64);
            channel_floats_ = ceil_div(vectors, chunks_) * micro.lanes;
            row_floats_ = channel_floats_;
        } else {
            lay_out_window(planes);
        }
        block_channels_ = std::clamp<int64_t>(column_bytes / (channel_floats_ * 4), 1, conv.c / conv.groups);
        for (int64_t c = 0; c < block_channels_; ++c) {
            for (int64_t tap = 0; tap < conv.taps(); ++tap) {
                column_offsets_.push_back(static_cast<int32_t>(c * channel_floats_ + tap_offset(tap)));
            }
        }
        book_memory();
    }

    std::string_view kernel() const override { return "outer"; }
    size_t workspace_bytes() const override { return static_cast<size_t>(threads_ * thread_bytes_); }
    size_t prepared_bytes() const override { return 0; }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        const Conv& conv = problem().conv;
        const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups;
        parallel_team([&](int thread, int team) {
            team = std::min(team, threads_);
            if (thread >= team) return;
            int by_k = team, by_c = 1;
            while (by_k % 2 == 0 && k / by_k < 32 && c / (by_c * 2) >= 16) by_k /= 2, by_c *= 2;
            auto [k_begin, k_end] = share(ceil_div(k, rows_at_once), thread / by_c, by_k);
            k_begin *= rows_at_once;
            k_end = std::min(k_end * rows_at_once, k);
            const auto [c_begin, c_end] = share(c, thread % by_c, by_c);
            if (k_begin >= k_end || c_begin >= c_end) return;
            for (int64_t group = 0; group < conv.groups; ++group) {
                for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
                    run_chunk(arguments, thread, chunk, group, {k_begin, k_end}, {c_begin, c_end});
                }
            }
        });
    }

  private:
    using Range = std::pair<int64_t, int64_t>;

    struct Scratch {
        float *columns, *rows;
        CopyRun *column_runs, *row_runs;
        int32_t* lines;
    };

    void lay_out_window(int64_t planes) {
        const Conv& conv = problem().conv;
        const int64_t target = 96, image = row_vectors_ * conv.out_h();
        chunk_planes_ = std::clamp<int64_t>(target / image, 1, planes);
        chunk_rows_ = std::clamp<int64_t>(target / row_vectors_, 1, conv.out_h());
        plane_chunks_ = ceil_div(planes, chunk_planes_);
        row_chunks_ = ceil_div(conv.out_h(), chunk_rows_);
        chunk_planes_ = ceil_div(planes, plane_chunks_);
        chunk_rows_ = ceil_div(conv.out_h(), row_chunks_);
        chunks_ = plane_chunks_ * row_chunks_;
        residue_pixels_.assign(static_cast<size_t>(conv.stride_w), 0);
        for (int64_t s = 0; s < conv.s; ++s) {
            int64_t& pixels = residue_pixels_[static_cast<size_t>(s * conv.dilation_w % conv.stride_w)];
            pixels = std::max(pixels, s * conv.dilation_w / conv.stride_w + row_vectors_ * lanes_.pixels);
        }
        residue_start_.assign(residue_pixels_.size(), 0);
        for (size_t i = 1; i < residue_start_.size(); ++i) {
            residue_start_[i] = residue_start_[i - 1] + residue_pixels_[i - 1];
        }
        window_row_ = (residue_start_.back() + residue_pixels_.back()) * lanes_.pixel_floats;
        window_rows_ = (chunk_rows_ - 1) * conv.stride_h + (conv.r - 1) * conv.dilation_h + 1;
        channel_floats_ = chunk_planes_ * window_rows_ * window_row_;
        row_floats_ = chunk_planes_ * chunk_rows_ * row_vectors_ * micro_.lanes;
    }

    int64_t tap_offset(int64_t tap) const {
        if (pointwise_) return 0;
        const Conv& conv = problem().conv;
        const int64_t column = tap % conv.s * conv.dilation_w;
        return tap / conv.s * conv.dilation_h * window_row_ +
               (residue_start_[static_cast<size_t>(column % conv.stride_w)] + column / conv.stride_w) *
                   lanes_.pixel_floats;
    }

    void book_memory() {
        const Conv& conv = problem().conv;
        const int64_t positions = row_floats_ / lanes_.pixel_floats;
        const int64_t runs = pointwise_ ? positions + 1 : chunk_planes_ * window_rows_ * conv.stride_w * 3;
        column_bytes_ = round_up(conv.c / conv.groups * channel_floats_ * 4 + 64, 64);
        row_bytes_ = round_up(conv.k / conv.groups * row_floats_ * 4 + 64, 64);
        column_run_bytes_ = round_up(runs * static_cast<int64_t>(sizeof(CopyRun)), 64);
        row_run_bytes_ = round_up((positions + 1) * static_cast<int64_t>(sizeof(CopyRun)), 64);
        const int64_t lines = pointwise_ ? 1 : chunk_planes_ * chunk_rows_;
        thread_bytes_ =
            column_bytes_ + row_bytes_ + column_run_bytes_ + row_run_bytes_ + round_up(lines * 4, 64);
    }

    Scratch scratch_of(const Arguments& arguments, int thread) const {
        std::byte* at = arguments.workspace.data() + thread * thread_bytes_;
        Scratch scratch{};
        scratch.columns = reinterpret_cast<float*>(at);
        scratch.rows = reinterpret_cast<float*>(at += column_bytes_);
        scratch.column_runs = reinterpret_cast<CopyRun*>(at += row_bytes_);
        scratch.row_runs = reinterpret_cast<CopyRun*>(at += column_run_bytes_);
        scratch.lines = reinterpret_cast<int32_t*>(at += row_run_bytes_);
        return scratch;
    }

    struct Chunk {
        int64_t column_runs = 0, row_runs = 0, lines = 1, line_vectors = 0;
    };

    Chunk point_chunk(int64_t index, const Scratch& scratch) const {
        const Conv& conv = problem().conv;
        const int64_t ow = conv.out_w(), area = conv.out_h() * ow, total = lanes_.planes(conv.n) * area;
        const auto [begin, end] =
            share(ceil_div(total, lanes_.pixels), static_cast<int>(index), static_cast<int>(chunks_));
        Chunk chunk{.line_vectors = end - begin};
        scratch.lines[0] = 0;
        const int64_t width = lanes_.pixel_floats, b = lanes_.block;
        for (int64_t position = begin * lanes_.pixels, to = 0; position < end * lanes_.pixels;
             ++position, to += width) {
            const int64_t plane = position / area, y = position % area / ow * conv.stride_h - conv.pad_top;
            const int64_t x = position % ow * conv.stride_w - conv.pad_left;
            const bool exists = position < total;
            if (exists && y >= 0 && y < conv.h && x >= 0 && x < conv.w) {
                add_run(scratch.column_runs, chunk.column_runs, b, width,
                        lanes_.plane_start(plane, conv.c, conv.h * conv.w) + (y * conv.w + x) * b, to, 1);
            } else {
                add_run(scratch.column_runs, chunk.column_runs, 0, width, 0, to, -1);
            }
            if (exists) {
                add_run(scratch.row_runs, chunk.row_runs, b, width,
                        lanes_.plane_start(plane, conv.k, area) + position % area * b, to, 1);
            } else {
                add_run(scratch.row_runs, chunk.row_runs, 0, width, 0, to, -1);
            }
        }
        return chunk;
    }

    Chunk window_chunk(int64_t index, const Scratch& scratch) const {
        const Conv& conv = problem().conv;
        const auto [plane_begin, plane_end] = share(
            lanes_.planes(conv.n), static_cast<int>(index / row_chunks_), static_cast<int>(plane_chunks_));
        const auto [y_begin, y_end] =
            share(conv.out_h(), static_cast<int>(index % row_chunks_), static_cast<int>(row_chunks_));
        const int64_t height = y_end - y_begin,
                      used_rows = (height - 1) * conv.stride_h + (conv.r - 1) * conv.dilation_h + 1;
        Chunk chunk{.lines = (plane_end - plane_begin) * height, .line_vectors = row_vectors_};
        int32_t* line = scratch.lines;
        int64_t row_to = 0;
        for (int64_t plane = plane_begin; plane < plane_end; ++plane) {
            const int64_t base = (plane - plane_begin) * window_rows_ * window_row_;
            const int64_t src = lanes_.plane_start(plane, conv.c, conv.h * conv.w);
            for (int64_t row = 0; row < used_rows; ++row) {
                for (int64_t residue = 0; residue < conv.stride_w; ++residue) {
                    const int64_t pixels = residue_pixels_[static_cast<size_t>(residue)];
                    if (pixels == 0) continue;
                    add_row(scratch.column_runs, chunk.column_runs, lanes_, src, conv.h, conv.w,
                            {.y = y_begin * conv.stride_h - conv.pad_top + row,
                             .x = residue - conv.pad_left,
                             .step = conv.stride_w,
                             .pixels = pixels},
                            base + row * window_row_ +
                                residue_start_[static_cast<size_t>(residue)] * lanes_.pixel_floats);
                }
            }
            const int64_t dst = lanes_.plane_start(plane, conv.k, conv.out_h() * conv.out_w());
            for (int64_t y = 0; y < height; ++y) {
                *line++ = static_cast<int32_t>(base + y * conv.stride_h * window_row_);
                add_row(scratch.row_runs, chunk.row_runs, lanes_, dst, conv.out_h(), conv.out_w(),
                        {.y = y_begin + y, .x = 0, .step = 1, .pixels = row_vectors_ * lanes_.pixels},
                        row_to);
                row_to += row_vectors_ * micro_.lanes;
            }
        }
        return chunk;
    }

    void run_chunk(const Arguments& arguments, int thread, int64_t index, int64_t group, Range k,
                   Range c) const {
        const Conv& conv = problem().conv;
        const Scratch scratch = scratch_of(arguments, thread);
        const Chunk chunk = pointwise_ ? point_chunk(index, scratch) : window_chunk(index, scratch);
        const int64_t channels = conv.c / conv.groups, filters = conv.k / conv.groups, taps = conv.taps();
        const int64_t src_channel = conv.h * conv.w * lanes_.block;
        const int64_t dst_channel = conv.out_h() * conv.out_w() * lanes_.block;
        micro_.pack({.src = arguments.src + (group * channels + c.first) * src_channel,
                     .channel_stride = src_channel,
                     .pixel_stride = pointwise_ ? lanes_.block : lanes_.block * conv.stride_w,
                     .channels = c.second - c.first,
                     .runs = scratch.column_runs,
                     .run_count = chunk.column_runs,
                     .pixel_floats = lanes_.pixel_floats,
                     .tile = scratch.columns,
                     .tile_channel = channel_floats_});
        micro_.pack({.src = arguments.diff_dst + (group * filters + k.first) * dst_channel,
                     .channel_stride = dst_channel,
                     .pixel_stride = lanes_.block,
                     .channels = k.second - k.first,
                     .runs = scratch.row_runs,
                     .run_count = chunk.row_runs,
                     .pixel_floats = lanes_.pixel_floats,
                     .tile = scratch.rows,
                     .tile_channel = row_floats_});
        OuterArgs args{.row_stride = row_floats_,
                       .column_offsets = column_offsets_.data(),
                       .lines = chunk.lines,
                       .line_vectors = chunk.line_vectors,
                       .line_offsets = scratch.lines,
                       .out_stride = channels * taps,
                       .accumulate = index > 0};
        for (int64_t first = c.first; first < c.second; first += block_channels_) {
            args.columns = scratch.columns + (first - c.first) * channel_floats_;
            args.column_count = std::min(block_channels_, c.second - first) * taps;
            for (int64_t row = k.first; row < k.second; row += rows_at_once) {
                args.rows = scratch.rows + (row - k.first) * row_floats_;
                args.row_count = static_cast<int>(std::min(rows_at_once, k.second - row));
                args.out = arguments.out + ((group * filters + row) * channels + first) * taps;
                micro_.outer(args);
            }
        }
    }

    const MicroKernels& micro_;
    LanePlan lanes_;
    int threads_;
    bool pointwise_ = false;  // one tap: positions of all images form one list
    int64_t chunks_ = 1, chunk_planes_ = 1, chunk_rows_ = 1, plane_chunks_ = 1, row_chunks_ = 1;
    int64_t row_vectors_ = 1;  // vectors in an output row
    std::vector<int64_t> residue_start_, residue_pixels_;
    int64_t window_row_ = 0, window_rows_ = 0;  // of a channel's tile: floats in a row, rows of an image
    int64_t channel_floats_ = 0, row_floats_ = 0;
    int64_t block_channels_ = 1;
    std::vector<int32_t> column_offsets_;
    int64_t column_bytes_ = 0, row_bytes_ = 0, column_run_bytes_ = 0, row_run_bytes_ = 0, thread_bytes_ = 0;
};

}  // namespace

std::string decline_outer(const Problem& problem, const MicroKernels&) {
    const Conv& conv = problem.conv;
    const int64_t reach = ((conv.r - 1) * conv.dilation_h + 1 + conv.out_h() * conv.stride_h) *
                          (conv.w + conv.pad_right + conv.pad_left);
    if (reach * 16 * 16 > int64_t{1} << 30) return "the window's tile would exceed 32-bit offsets";
    return {};
}

std::unique_ptr<Product> make_outer(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<Outer>(problem, micro);
}

}  // namespace enmesh::products
