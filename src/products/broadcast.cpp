// FF and BP with images (or images and pixels) in the vector lanes.
//
// A product is cut into phases, each a gather: output (i, j) reads inputs (i * in_step + dh, j * in_step +
// dw), one per tap. FF is one phase; BP of a convolution with stride s is s * s of them, each over its own
// taps, so that inserted zeros are never multiplied. A tile of outputs reads a window of some channels, which
// is packed into the L1 cache (columns sorted by their residue modulo the stride, so that neighbouring
// outputs read neighbouring vectors); all rows of the operand then pass over the tile with one broadcast per
// kept weight.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"
#include "products/runs.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t max_offset = 65536;  // offsets into a tile are 16 bits of bytes
constexpr int64_t dense_rows = 4;      // rows that share loads in the dense panel

int64_t floor_mod(int64_t a, int64_t b) { return ((a % b) + b) % b; }

int64_t tile_budget_bytes() {
    static const int64_t budget = [] {
        const long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
        return std::clamp<int64_t>(l1 > 0 ? l1 * 3 / 4 : 24 << 10, 12 << 10, 60 << 10);
    }();
    return budget;
}

struct Tap {
    int64_t index, dh, dw;
    int64_t offset_floats = 0;  // into a channel of the tile
};

// N kept weights and their places in the group of M; a dense weight is a group of one.
struct KeptGroup {
    const float* values;
    const uint8_t* indices;
};
constexpr uint8_t first_index = 0;

// Channels [first, first + channels) of the reduction, and where their stream lies in the prepared weights.
struct Block {
    int64_t first = 0, channels = 0, units = 0, tail = 0;
    int64_t count = 0;  // products per row
    int64_t values = 0, offsets = 0;
};

struct Phase {
    int64_t out_h = 0, out_w = 0;
    int64_t y0 = 0, x0 = 0, step_h = 1, step_w = 1;  // output pixel of (i, j)
    int64_t in_h = 1, in_w = 1;                      // input step
    std::vector<Tap> taps = {};
    bool pointwise = false;  // one tap: output positions of all images form one list
    int64_t tiles_y = 1, tiles_x = 1, tiles = 1, row_parts = 1;
    int64_t height = 1, width = 1;  // of the largest tile, in rows and vectors
    int64_t dh_min = 0, dw_min = 0;
    std::vector<int64_t> residue_start = {}, residue_pixels = {};  // in a tile row, per column residue
    std::vector<char> row_used = {};
    int64_t row_floats = 0, channel_floats = 0;
    std::vector<Block> blocks = {};
};

// A map as the loops see it: channel planes of pixels, `lanes` floats of a pixel at a time.
struct Map {
    int64_t channels, h, w;
};

class Broadcast final : public Product {
  public:
    Broadcast(const Problem& problem, const MicroKernels& micro, bool dense)
        : Product(problem),
          micro_(micro),
          lanes_(problem.block, micro.lanes),
          dense_(dense),
          threads_(threads()) {
        const Conv& conv = problem.conv;
        const bool ff = problem.stage == Stage::ff;
        in_ = ff ? Map{conv.c, conv.h, conv.w} : Map{conv.k, conv.out_h(), conv.out_w()};
        out_ = ff ? Map{conv.k, conv.out_h(), conv.out_w()} : Map{conv.c, conv.h, conv.w};
        pixel_floats_ = lanes_.pixel_floats;
        pixels_ = lanes_.pixels;
        pattern_ = problem.sparse == Operand::weights ? problem.pattern : Pattern{1, 1};
        rows_ = problem.rows() / conv.groups;
        reduction_ = problem.reduction();
        make_phases();
        for (Phase& phase : phases_) {
            if (!choose_tile(phase)) {
                declined_ = "the window of one group of channels is larger than a tile may be";
                return;
            }
            lay_out(phase);
        }
        linear_ =
            problem.block == 1 && in_.h * in_.w == 1 && out_.h * out_.w == 1 && !phases_.front().taps.empty();
        book_memory();
    }

    const std::string& declined() const { return declined_; }
    std::string_view kernel() const override { return dense_ ? "dense" : "broadcast"; }
    size_t workspace_bytes() const override { return static_cast<size_t>(threads_ * thread_bytes_); }
    size_t prepared_bytes() const override {
        return static_cast<size_t>(value_count_ * 4 + round_up(offset_count_ * 2 + 64, 64));
    }

    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override {
        const Conv& conv = problem().conv;
        if (problem().sparse != Operand::weights) return Product::prepare(weights, prepared);
        const PackedShape shape = weights_shape(conv, problem().stage, pattern_);
        if (weights.shape != shape) fail("{}: compact weights of another shape", to_string(problem()));
        const int64_t groups = shape.groups(), tail = shape.tail(), n = pattern_.n;
        const float* const values = weights.values.data();
        const uint8_t* const indices = weights.indices.data();
        fill(
            prepared,
            [=](int64_t row, const Tap& tap, int64_t unit) {
                const int64_t at = ((row * shape.taps + tap.index) * groups + unit) * n;
                return KeptGroup{values + at, indices + at};
            },
            [=, &weights](int64_t row, const Tap& tap, int64_t i) {
                return weights.tail[(row * shape.taps + tap.index) * tail + i];
            });
    }

    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        const Conv& conv = problem().conv;
        if (problem().sparse == Operand::weights) return Product::prepare(weights, prepared);
        if (weights.size() != static_cast<size_t>(conv.weights_size())) {
            fail("{}: {} dense weights, {} are needed", to_string(problem()), weights.size(),
                 conv.weights_size());
        }
        const int64_t taps = conv.taps(), c = conv.c / conv.groups, k = conv.k / conv.groups;
        const bool ff = problem().stage == Stage::ff;
        const int64_t row_stride = ff ? c * taps : taps, channel_stride = ff ? taps : c * taps;
        const int64_t rows = rows_, band_stride = k * c * taps;
        fill(
            prepared,
            [=](int64_t row, const Tap& tap, int64_t unit) {
                return KeptGroup{weights.data() + row / rows * band_stride + row % rows * row_stride +
                                     unit * channel_stride + tap.index,
                                 &first_index};
            },
            [](int64_t, const Tap&, int64_t) { return 0.0F; });
    }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.prepared, prepared_bytes(), "the prepared weights");
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        parallel_team([&](int thread, int team) {
            team = std::min(team, threads_);
            if (thread >= team) return;
            const Scratch scratch = scratch_of(arguments, thread);
            for (const Phase& phase : phases_) {
                const int64_t tasks = phase.tiles * problem().conv.groups * phase.row_parts;
                const auto [begin, end] = share(tasks, thread, team);
                for (int64_t task = begin; task < end; ++task) run_task(arguments, phase, task, scratch);
            }
        });
    }

  private:
    struct Scratch {
        float *tile, *sums;
        CopyRun *in_runs, *out_runs;
        int64_t* out_offsets;
    };
    // What a task does: where its tile's inputs come from and its outputs go.
    struct Tile {
        int64_t height = 1, width = 1;
        int64_t in_run_count = 0, out_run_count = 0;
    };

    void make_phases() {
        const Conv& conv = problem().conv;
        if (problem().stage == Stage::ff) {
            Phase phase{.out_h = out_.h, .out_w = out_.w, .in_h = conv.stride_h, .in_w = conv.stride_w};
            for (int64_t tap = 0; tap < conv.taps(); ++tap) {
                phase.taps.push_back({tap, tap / conv.s * conv.dilation_h - conv.pad_top,
                                      tap % conv.s * conv.dilation_w - conv.pad_left});
            }
            add_phase(std::move(phase));
            return;
        }
        for (int64_t y0 = 0; y0 < std::min(conv.stride_h, conv.h); ++y0) {
            for (int64_t x0 = 0; x0 < std::min(conv.stride_w, conv.w); ++x0) {
                Phase phase{.out_h = ceil_div(conv.h - y0, conv.stride_h),
                            .out_w = ceil_div(conv.w - x0, conv.stride_w),
                            .y0 = y0,
                            .x0 = x0,
                            .step_h = conv.stride_h,
                            .step_w = conv.stride_w};
                for (int64_t tap = 0; tap < conv.taps(); ++tap) {
                    const int64_t y = y0 + conv.pad_top - tap / conv.s * conv.dilation_h;
                    const int64_t x = x0 + conv.pad_left - tap % conv.s * conv.dilation_w;
                    if (floor_mod(y, conv.stride_h) != 0 || floor_mod(x, conv.stride_w) != 0) continue;
                    phase.taps.push_back({tap, y / conv.stride_h, x / conv.stride_w});
                }
                add_phase(std::move(phase));
            }
        }
    }

    // Taps that read nothing but padding are dropped (a 3x3 window on a 1x1 image has one tap).
    void add_phase(Phase phase) {
        std::erase_if(phase.taps, [&](const Tap& tap) {
            return !reads(tap.dh, phase.in_h, phase.out_h, in_.h) ||
                   !reads(tap.dw, phase.in_w, phase.out_w, in_.w);
        });
        phase.pointwise = phase.taps.size() <= 1;
        phases_.push_back(std::move(phase));
    }

    static bool reads(int64_t first, int64_t step, int64_t count, int64_t size) {
        for (int64_t i = 0; i < count; ++i) {
            const int64_t at = first + i * step;
            if (at >= 0 && at < size) return true;
        }
        return false;
    }

    int64_t planes() const { return lanes_.planes(problem().conv.n); }

    // Sizes that follow from the tile's height and width.
    void shape_tile(Phase& phase, int64_t height, int64_t width) const {
        phase.height = height;
        phase.width = width;
        if (phase.pointwise) {
            phase.row_floats = phase.channel_floats = width * micro_.lanes;
            return;
        }
        const auto by_dh = [](const Tap& a, const Tap& b) { return a.dh < b.dh; };
        const auto by_dw = [](const Tap& a, const Tap& b) { return a.dw < b.dw; };
        const auto& taps = phase.taps;
        phase.dh_min = std::min_element(taps.begin(), taps.end(), by_dh)->dh;
        phase.dw_min = std::min_element(taps.begin(), taps.end(), by_dw)->dw;
        const int64_t dh_max = std::max_element(taps.begin(), taps.end(), by_dh)->dh;
        phase.residue_pixels.assign(static_cast<size_t>(phase.in_w), 0);
        phase.row_used.assign(static_cast<size_t>(dh_max - phase.dh_min + (height - 1) * phase.in_h + 1), 0);
        for (const Tap& tap : taps) {
            const int64_t column = tap.dw - phase.dw_min;
            int64_t& pixels = phase.residue_pixels[static_cast<size_t>(column % phase.in_w)];
            pixels = std::max(pixels, column / phase.in_w + width * pixels_);
            for (int64_t y = 0; y < height; ++y) {
                phase.row_used[static_cast<size_t>(tap.dh - phase.dh_min + y * phase.in_h)] = 1;
            }
        }
        phase.residue_start.assign(phase.residue_pixels.size(), 0);
        std::exclusive_scan(phase.residue_pixels.begin(), phase.residue_pixels.end(),
                            phase.residue_start.begin(), int64_t{0});
        phase.row_floats = (phase.residue_start.back() + phase.residue_pixels.back()) * pixel_floats_;
        phase.channel_floats = static_cast<int64_t>(phase.row_used.size()) * phase.row_floats;
    }

    // Channels that one tile may hold, a multiple of the pattern's M; 0 if not even one group fits.
    int64_t tile_channels(const Phase& phase) const {
        const int64_t bytes = phase.channel_floats * 4;
        const int64_t unit = pattern_.m, tail = reduction_ % unit;
        int64_t units = std::max<int64_t>(1, tile_budget_bytes() / (bytes * unit));
        units = std::min(units, std::max<int64_t>(1, reduction_ / unit));
        return (units * unit + tail) * bytes > max_offset ? 0 : units * unit;
    }

    // The tile with the least estimated cycles: multiplies with their broadcasts, sums carried from block to
    // block, and packing.
    bool choose_tile(Phase& phase) const {
        const int64_t vectors = ceil_div(phase.out_w, pixels_);
        const int64_t positions = ceil_div(planes() * phase.out_h * phase.out_w, pixels_);
        const int64_t max_height =
            phase.pointwise ? 1 : std::min<int64_t>(MicroKernels::max_height, phase.out_h);
        double best = 0;
        std::optional<std::pair<int64_t, int64_t>> choice;
        for (int64_t height = 1; height <= max_height; ++height) {
            const int64_t most = std::min<int64_t>(
                {micro_.max_vectors, micro_.max_sums / height, phase.pointwise ? positions : vectors});
            for (int64_t width = 1; width <= most; ++width) {
                shape_tile(phase, height, width);
                const int64_t channels = tile_channels(phase);
                if (channels == 0) continue;
                const double tiles = static_cast<double>(
                    phase.pointwise ? ceil_div(positions, width)
                                    : ceil_div(phase.out_h, height) * ceil_div(vectors, width) * planes());
                const double sums =
                    static_cast<double>(phase.pointwise ? positions : phase.out_h * vectors * planes());
                const double rows = static_cast<double>(rows_);
                const double products = static_cast<double>(phase.taps.size()) *
                                        static_cast<double>(reduction_) * pattern_.density();
                const double blocks = static_cast<double>(ceil_div(reduction_, channels));
                const double packed = static_cast<double>(phase.channel_floats) / micro_.lanes;
                const double cycles = rows * products * (sums + 1.3 * tiles) / 2 +
                                      rows * blocks * (sums * 1.2 + tiles * 6) +
                                      tiles * packed * static_cast<double>(reduction_) * 1.6;
                if (!choice || cycles < best) {
                    best = cycles;
                    choice = {height, width};
                }
            }
        }
        if (!choice) return false;
        shape_tile(phase, choice->first, choice->second);
        phase.tiles_y = ceil_div(phase.out_h, phase.height);
        phase.tiles_x = ceil_div(phase.pointwise ? positions : vectors, phase.width);
        phase.tiles = phase.pointwise ? phase.tiles_x : planes() * phase.tiles_y * phase.tiles_x;
        return true;
    }

    void lay_out(Phase& phase) {
        for (Tap& tap : phase.taps) {
            if (phase.pointwise) continue;
            const int64_t column = tap.dw - phase.dw_min;
            tap.offset_floats =
                (tap.dh - phase.dh_min) * phase.row_floats +
                (phase.residue_start[static_cast<size_t>(column % phase.in_w)] + column / phase.in_w) *
                    pixel_floats_;
        }
        const int64_t units = reduction_ / pattern_.m,
                      per_block = std::max<int64_t>(1, tile_channels(phase) / pattern_.m);
        const int64_t count = std::max<int64_t>(1, ceil_div(units, per_block));
        const int64_t bands = problem().conv.groups,
                      stream_rows = dense_ ? round_up(rows_, dense_rows) : rows_;
        const int64_t taps = static_cast<int64_t>(phase.taps.size());
        for (int64_t i = 0; i < count; ++i) {
            const auto [begin, end] = share(units, static_cast<int>(i), static_cast<int>(count));
            Block block{
                .first = begin * pattern_.m, .channels = (end - begin) * pattern_.m, .units = end - begin};
            if (i == count - 1) block.tail = reduction_ % pattern_.m;
            block.channels += block.tail;
            block.count = (block.units * pattern_.n + block.tail) * taps;
            block.values = value_count_;
            block.offsets = offset_count_;
            value_count_ += round_up(bands * stream_rows * block.count, 16);
            offset_count_ += dense_ ? block.count : bands * rows_ * block.count;
            phase.blocks.push_back(block);
        }
        split_rows(phase);
    }

    // Where tiles are too few to keep the threads evenly busy, a task takes a share of the rows.
    void split_rows(Phase& phase) const {
        const int64_t tasks = phase.tiles * problem().conv.groups, most = std::max<int64_t>(1, rows_ / 16);
        for (phase.row_parts = 1; phase.row_parts < most; ++phase.row_parts) {
            const int64_t parts = tasks * phase.row_parts;
            if (ceil_div(parts, threads_) * threads_ * 100 <= parts * 108) break;
        }
    }

    void book_memory() {
        int64_t tile = 0, sums = 0, in_runs = 1, vectors = 1;
        for (const Phase& phase : phases_) {
            for (const Block& block : phase.blocks)
                tile = std::max(tile, block.channels * phase.channel_floats * 4);
            const int64_t area = phase.height * phase.width;
            vectors = std::max(vectors, area);
            sums = std::max(sums, round_up(rows_, dense_rows) * area * micro_.lanes * 4);
            const int64_t runs = phase.pointwise
                                     ? area * pixels_
                                     : static_cast<int64_t>(phase.row_used.size()) * 3 * phase.in_w;
            in_runs = std::max(in_runs, runs);
        }
        tile_bytes_ = round_up(tile + 64, 64);
        sum_bytes_ = round_up(sums + 64, 64);
        in_run_bytes_ = round_up(in_runs * static_cast<int64_t>(sizeof(CopyRun)), 64);
        out_run_bytes_ = round_up(vectors * pixels_ * static_cast<int64_t>(sizeof(CopyRun)), 64);
        thread_bytes_ = tile_bytes_ + sum_bytes_ + in_run_bytes_ + out_run_bytes_ + round_up(vectors * 8, 64);
    }

    Scratch scratch_of(const Arguments& arguments, int thread) const {
        std::byte* at = arguments.workspace.data() + thread * thread_bytes_;
        Scratch scratch{};
        scratch.tile = reinterpret_cast<float*>(at);
        scratch.sums = reinterpret_cast<float*>(at += tile_bytes_);
        scratch.in_runs = reinterpret_cast<CopyRun*>(at += sum_bytes_);
        scratch.out_runs = reinterpret_cast<CopyRun*>(at += in_run_bytes_);
        scratch.out_offsets = reinterpret_cast<int64_t*>(at += out_run_bytes_);
        return scratch;
    }

    // kept(row, tap, unit) gives the kept weights of a group of M channels, tail(row, tap, i) one of the
    // tail.
    template <typename Kept, typename Tail>
    void fill(std::span<std::byte> prepared, const Kept& kept, const Tail& tail) const {
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        auto* const values = reinterpret_cast<float*>(prepared.data());
        auto* const offsets = reinterpret_cast<uint16_t*>(values + value_count_);
        std::memset(offsets + offset_count_, 0, 64);
        parallel_for(problem().rows(), 4, [&](int64_t begin, int64_t end) {
            for (const Phase& phase : phases_) {
                for (const Block& block : phase.blocks) {
                    for (int64_t row = begin; row < end; ++row) {
                        fill_row(phase, block, row, values + block.values, offsets + block.offsets, kept,
                                 tail);
                    }
                }
            }
        });
    }

    template <typename Kept, typename Tail>
    void fill_row(const Phase& phase, const Block& block, int64_t row, float* values, uint16_t* offsets,
                  const Kept& kept, const Tail& tail) const {
        const int64_t band = row / rows_, in_band = row % rows_;
        float* value = values + row * block.count;
        uint16_t* offset = offsets + row * block.count;
        int64_t step = 1;
        if (dense_) {
            const int64_t stream_rows = round_up(rows_, dense_rows);
            value = values + band * stream_rows * block.count +
                    in_band / dense_rows * dense_rows * block.count + in_band % dense_rows;
            step = dense_rows;
        }
        const bool with_offsets = !dense_ || row == 0;
        if (dense_) offset = offsets;
        const int64_t channel_bytes = phase.channel_floats * 4;
        const auto put = [&](float weight, int64_t offset_bytes) {
            *value = weight;
            value += step;
            if (with_offsets) *offset++ = static_cast<uint16_t>(offset_bytes);
        };
        const auto [n, m] = pattern_;
        const int64_t first_unit = block.first / m;
        for (int64_t unit = 0; unit < block.units; ++unit) {
            for (const Tap& tap : phase.taps) {
                const KeptGroup group = kept(row, tap, first_unit + unit);
                const int64_t at = unit * m * channel_bytes + tap.offset_floats * 4;
                for (int slot = 0; slot < n; ++slot)
                    put(group.values[slot], at + group.indices[slot] * channel_bytes);
            }
        }
        const int64_t tail_first = reduction_ - block.tail - block.first;
        for (const Tap& tap : phase.taps) {
            for (int64_t i = 0; i < block.tail; ++i)
                put(tail(row, tap, i), (tail_first + i) * channel_bytes + tap.offset_floats * 4);
        }
        if (dense_ && in_band == rows_ - 1) zero_missing_rows(value, in_band, block.count);
    }

    // The last four rows of a dense band are filled up with zeros: `end` is one past the last row's values.
    static void zero_missing_rows(float* end, int64_t in_band, int64_t count) {
        float* const first = end - count * dense_rows;
        for (int64_t missing = 1; in_band % dense_rows + missing < dense_rows; ++missing) {
            for (int64_t i = 0; i < count; ++i) first[i * dense_rows + missing] = 0.0F;
        }
    }

    int64_t out_pixel(const Phase& phase, int64_t i, int64_t j) const {
        return (phase.y0 + i * phase.step_h) * out_.w + phase.x0 + j * phase.step_w;
    }
    int64_t plane_start(int64_t plane, const Map& map) const {
        return lanes_.plane_start(plane, map.channels, map.h * map.w);
    }

    Tile pointwise_tile(const Phase& phase, int64_t index, const Scratch& scratch) const {
        const int64_t area = phase.out_h * phase.out_w, total = planes() * area, b = problem().block;
        const auto [begin, end] =
            share(ceil_div(total, pixels_), static_cast<int>(index), static_cast<int>(phase.tiles));
        Tile tile{.height = 1, .width = end - begin};
        int64_t plane = begin * pixels_ / area, i = begin * pixels_ % area / phase.out_w;
        int64_t j = begin * pixels_ % area % phase.out_w;
        for (int64_t position = begin * pixels_, at = 0; position < end * pixels_;
             ++position, at += pixel_floats_) {
            if (position >= total) {
                add_run(scratch.in_runs, tile.in_run_count, 0, pixel_floats_, 0, at, -1);
                continue;
            }
            const int64_t y = phase.taps.empty() ? -1 : i * phase.in_h + phase.taps[0].dh;
            const int64_t x = phase.taps.empty() ? -1 : j * phase.in_w + phase.taps[0].dw;
            if (y < 0 || y >= in_.h || x < 0 || x >= in_.w) {
                add_run(scratch.in_runs, tile.in_run_count, 0, pixel_floats_, 0, at, -1);
            } else {
                add_run(scratch.in_runs, tile.in_run_count, b, pixel_floats_,
                        plane_start(plane, in_) + (y * in_.w + x) * b, at, 1);
            }
            const int64_t out = plane_start(plane, out_) + out_pixel(phase, i, j) * b;
            if (pixels_ == 1) {
                scratch.out_offsets[at / micro_.lanes] = out;
            } else {
                add_run(scratch.out_runs, tile.out_run_count, b * phase.step_w, pixel_floats_, out, at, 1);
            }
            if (++j == phase.out_w) {
                j = 0;
                if (++i == phase.out_h) i = 0, ++plane;
            }
        }
        return tile;
    }

    Tile window_tile(const Phase& phase, int64_t index, const Scratch& scratch) const {
        const int64_t b = problem().block, plane = index / (phase.tiles_y * phase.tiles_x);
        const int64_t ty = index / phase.tiles_x % phase.tiles_y, tx = index % phase.tiles_x;
        const auto [y_begin, y_end] =
            share(phase.out_h, static_cast<int>(ty), static_cast<int>(phase.tiles_y));
        const auto [v_begin, v_end] =
            share(ceil_div(phase.out_w, pixels_), static_cast<int>(tx), static_cast<int>(phase.tiles_x));
        Tile tile{.height = y_end - y_begin, .width = v_end - v_begin};
        const int64_t less_rows = (phase.height - tile.height) * phase.in_h;
        const int64_t tile_rows = static_cast<int64_t>(phase.row_used.size()) - less_rows;
        const int64_t first_x = v_begin * pixels_ * phase.in_w + phase.dw_min;
        for (int64_t row = 0; row < tile_rows; ++row) {
            if (phase.row_used[static_cast<size_t>(row)] == 0) continue;
            const int64_t y = y_begin * phase.in_h + phase.dh_min + row;
            for (int64_t residue = 0; residue < phase.in_w; ++residue) {
                int64_t pixels = phase.residue_pixels[static_cast<size_t>(residue)];
                if (pixels == 0) continue;
                pixels -= (phase.width - tile.width) * pixels_;
                add_row(scratch.in_runs, tile.in_run_count, lanes_, plane_start(plane, in_), in_.h, in_.w,
                        {.y = y, .x = first_x + residue, .step = phase.in_w, .pixels = pixels},
                        row * phase.row_floats +
                            phase.residue_start[static_cast<size_t>(residue)] * pixel_floats_);
            }
        }
        for (int64_t y = 0; y < tile.height; ++y) {
            for (int64_t v = 0; v < tile.width; ++v) {
                const int64_t j = (v_begin + v) * pixels_, at = (y * tile.width + v) * micro_.lanes;
                const int64_t out = plane_start(plane, out_) + out_pixel(phase, y_begin + y, j) * b;
                if (pixels_ == 1) {
                    scratch.out_offsets[at / micro_.lanes] = out;
                } else {
                    add_run(scratch.out_runs, tile.out_run_count, b * phase.step_w, pixel_floats_, out, at,
                            std::min(pixels_, phase.out_w - j));
                }
            }
        }
        return tile;
    }

    void run_task(const Arguments& arguments, const Phase& phase, int64_t task,
                  const Scratch& scratch) const {
        const Conv& conv = problem().conv;
        const int64_t row_part = task % phase.row_parts, band = task / phase.row_parts % conv.groups;
        const int64_t index = task / phase.row_parts / conv.groups, b = problem().block;
        const Tile tile =
            phase.pointwise ? pointwise_tile(phase, index, scratch) : window_tile(phase, index, scratch);
        const int64_t quantum = dense_ ? dense_rows : 1;
        auto [row, row_end] =
            share(ceil_div(rows_, quantum), static_cast<int>(row_part), static_cast<int>(phase.row_parts));
        row *= quantum;
        row_end = std::min(row_end * quantum, rows_);

        const float* const in = problem().stage == Stage::ff ? arguments.src : arguments.diff_dst;
        const int64_t in_channel = in_.h * in_.w * b, out_channel = out_.h * out_.w * b;
        PackArgs pack{.channel_stride = in_channel,
                      .pixel_stride = phase.in_w * b,
                      .runs = scratch.in_runs,
                      .run_count = tile.in_run_count,
                      .pixel_floats = pixel_floats_,
                      .tile = scratch.tile,
                      .tile_channel = phase.channel_floats};
        if (phase.pointwise) pack.pixel_stride = b;
        PanelArgs panel{.tile = scratch.tile,
                        .rows = row_end - row,
                        .row_pitch = phase.in_h * phase.row_floats * 4,
                        .height = static_cast<int>(tile.height),
                        .width = static_cast<int>(tile.width),
                        .sums = scratch.sums,
                        .out_offsets = scratch.out_offsets,
                        .out_row = out_channel,
                        .relu = arguments.epilogue.relu};
        float* const out = arguments.out + (band * rows_ + row) * out_channel;
        if (pixels_ == 1) panel.out = out;
        if (arguments.epilogue.bias != nullptr) panel.bias = arguments.epilogue.bias + band * rows_ + row;

        const auto* const values = reinterpret_cast<const float*>(arguments.prepared.data());
        const auto* const offsets = reinterpret_cast<const uint16_t*>(values + value_count_);
        const int64_t stream_row = dense_ ? band * round_up(rows_, dense_rows) + row : band * rows_ + row;
        for (const Block& block : phase.blocks) {
            pack.src = in + (band * reduction_ + block.first) * in_channel;
            pack.channels = phase.taps.empty() ? 0 : block.channels;
            if (linear_) {
                pack_matrix(pack, index, tile.width);
            } else {
                micro_.pack(pack);
            }
            panel.values = values + block.values + stream_row * block.count;
            panel.offsets = offsets + block.offsets + (dense_ ? 0 : stream_row * block.count);
            panel.count = block.count;
            panel.first = &block == &phase.blocks.front();
            panel.last = &block == &phase.blocks.back();
            (dense_ ? micro_.dense_panel : micro_.panel[tile.height - 1][tile.width - 1])(panel);
        }
        if (linear_) {
            store_matrix(panel, arguments.out + band * rows_ + row, index, tile.width);
        } else if (pixels_ > 1) {
            scatter(panel, out, phase, tile, scratch);
        }
    }

    // A linear layer's maps are row-major matrices: tiles come in and go out through transposes.
    std::pair<int64_t, int64_t> matrix_rows(int64_t index) const {
        const Phase& phase = phases_.front();
        const auto [begin, end] = share(ceil_div(problem().conv.n, pixels_), static_cast<int>(index),
                                        static_cast<int>(phase.tiles));
        return {begin * pixels_, std::min(end * pixels_, problem().conv.n)};
    }

    void pack_matrix(const PackArgs& pack, int64_t index, int64_t width) const {
        const auto [begin, end] = matrix_rows(index);
        const int64_t lanes = micro_.lanes;
        for (int64_t vector = 0; vector < width; ++vector) {
            const int64_t row = begin + vector * lanes;
            TransposeArgs args{.from = pack.src + row * in_.channels,
                               .from_row = in_.channels,
                               .from_block = lanes,
                               .to = pack.tile + vector * lanes,
                               .to_row = pack.tile_channel,
                               .to_block = lanes * pack.tile_channel,
                               .rows = std::min(lanes, end - row),
                               .columns = lanes,
                               .count = pack.channels / lanes};
            micro_.transpose(args);
            args.from += args.count * lanes;
            args.to += args.count * args.to_block;
            args.columns = pack.channels % lanes;
            args.count = args.columns > 0 ? 1 : 0;
            micro_.transpose(args);
        }
    }

    void store_matrix(const PanelArgs& panel, float* out, int64_t index, int64_t width) const {
        const auto [begin, end] = matrix_rows(index);
        const int64_t lanes = micro_.lanes;
        for (int64_t vector = 0; vector < width; ++vector) {
            const int64_t row = begin + vector * lanes, whole = panel.rows / lanes * lanes;
            micro_.transpose({.from = panel.sums + vector * lanes,
                              .from_row = width * lanes,
                              .from_block = lanes * width * lanes,
                              .to = out + row * out_.channels,
                              .to_row = out_.channels,
                              .to_block = lanes,
                              .rows = lanes,
                              .columns = std::min(lanes, end - row),
                              .count = panel.rows / lanes});
            for (int64_t channel = whole; channel < panel.rows; ++channel) {
                const float* const from = panel.sums + (channel * width + vector) * lanes;
                for (int64_t i = 0; i < std::min(lanes, end - row); ++i) {
                    out[(row + i) * out_.channels + channel] = from[i];
                }
            }
        }
    }

    // Tiles whose vectors hold several pixels go out through the carried sums.
    void scatter(const PanelArgs& panel, float* out, const Phase& phase, const Tile& tile,
                 const Scratch& scratch) const {
        const int64_t step = problem().block * phase.step_w, width = pixel_floats_;
        for (int64_t row = 0; row < panel.rows; ++row) {
            const float* const sums = panel.sums + row * tile.height * tile.width * micro_.lanes;
            for (int64_t i = 0; i < tile.out_run_count; ++i) {
                const CopyRun& run = scratch.out_runs[i];
                const float* from = sums + run.to;
                float* to = out + row * panel.out_row + run.from;
                for (int32_t pixel = 0; pixel < run.pixels; ++pixel, from += width, to += step) {
                    for (int64_t lane = 0; lane < width; ++lane) to[lane] = from[lane];
                }
            }
        }
    }

    const MicroKernels& micro_;
    LanePlan lanes_;
    bool dense_;
    bool linear_ = false;
    int threads_;
    Map in_{}, out_{};
    int64_t pixel_floats_ = 1;  // floats of a pixel that go into a vector
    int64_t pixels_ = 1;        // pixels in a vector
    Pattern pattern_;
    int64_t rows_ = 0, reduction_ = 0;
    std::vector<Phase> phases_;
    std::string declined_;
    int64_t value_count_ = 0, offset_count_ = 0;
    int64_t tile_bytes_ = 0, sum_bytes_ = 0, in_run_bytes_ = 0, out_run_bytes_ = 0, thread_bytes_ = 0;
};

}  // namespace

std::string decline_broadcast(const Problem& problem, const MicroKernels& micro) {
    return Broadcast(problem, micro, false).declined();
}

std::unique_ptr<Product> make_broadcast(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<Broadcast>(problem, micro, false);
}

std::string decline_dense(const Problem& problem, const MicroKernels& micro) {
    return Broadcast(problem, micro, true).declined();
}

std::unique_ptr<Product> make_dense(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<Broadcast>(problem, micro, true);
}

}  // namespace enmesh::products
