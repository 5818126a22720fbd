// FF and BP with images (or images and pixels) in the vector lanes.
//
// A product is cut into phases, each a gather: output (i, j) reads inputs (i * in_step + dh, j * in_step +
// dw), one per tap. FF is one phase; BP of a convolution with stride s is s * s of them, each over its own
// taps, so that inserted zeros are never multiplied. A tile of outputs reads a window of some channels, which
// is packed into the L1 cache (columns sorted by their residue modulo the stride, so that neighbouring
// outputs read neighbouring vectors); all rows of the operand then pass over the tile with one broadcast per
// kept weight.

#include <algorithm>
#include <cstring>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/prefetch.hpp"
#include "enmesh/base/streaming.hpp"
#include "products/broadcast/broadcast_plan.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t fill_rows = 8;

class Broadcast final : public Product {
  public:
    Broadcast(const Problem& problem, const MicroKernels& micro, bool dense)
        : Product(problem), micro_(micro), plan_(problem, micro, dense, threads()) {
        if (plan_.declined.empty()) book_memory();
        // Only where each vector of the output is a block of images: others may begin inside a cache line.
        const bool whole_lines = micro.lanes * sizeof(float) == 64 && problem.block % micro.lanes == 0;
        const int64_t floats = problem.conv.n * plan_.out.channels * plan_.out.h * plan_.out.w;
        stream_ = !dense && whole_lines && streams(floats * static_cast<int64_t>(sizeof(float)));
    }

    const std::string& declined() const { return plan_.declined; }
    std::string_view kernel() const override { return plan_.dense ? "dense" : "broadcast"; }
    size_t workspace_bytes() const override { return static_cast<size_t>(plan_.threads * thread_bytes_); }
    size_t prepared_bytes() const override {
        return static_cast<size_t>(plan_.value_count * 4 + round_up(plan_.offset_count * 2 + 64, 64));
    }

    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override {
        const Conv& conv = problem().conv;
        if (problem().sparse() != Operand::weights) return Product::prepare(weights, prepared);
        const PackedShape shape = weights_shape(conv, problem().stage, plan_.pattern);
        if (weights.shape != shape) fail("{}: compact weights of another shape", to_string(problem()));
        fill(prepared,
             [&](const Phase& phase, const Block& block, int64_t row, float* values, uint16_t* offsets) {
                 const auto fill_row = plan_.pattern.n == 1   ? &Broadcast::fill_compact_row<1>
                                       : plan_.pattern.n == 2 ? &Broadcast::fill_compact_row<2>
                                       : plan_.pattern.n == 4 ? &Broadcast::fill_compact_row<4>
                                                              : &Broadcast::fill_compact_row<0>;
                 (this->*fill_row)(phase, block, row, weights, values + row * block.count,
                                   offsets + row * block.count);
             });
    }

    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        const Conv& conv = problem().conv;
        if (problem().sparse() == Operand::weights) return Product::prepare(weights, prepared);
        if (weights.size() != static_cast<size_t>(conv.weights_size())) {
            fail("{}: {} dense weights, {} are needed", to_string(problem()), weights.size(),
                 conv.weights_size());
        }
        const int64_t taps = conv.taps(), c = conv.c / conv.groups, k = conv.k / conv.groups;
        const bool ff = problem().stage == Stage::ff;
        const int64_t row_stride = ff ? c * taps : taps, channel_stride = ff ? taps : c * taps;
        const int64_t rows = plan_.rows, band_stride = k * c * taps;
        fill(prepared, [&](const Phase& phase, const Block& block, int64_t row, float* values,
                           uint16_t* offsets) {
            const float* const from = weights.data() + row / rows * band_stride + row % rows * row_stride;
            fill_dense_row(phase, block, row, from, channel_stride, values, offsets);
        });
    }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.prepared, prepared_bytes(), "the prepared weights");
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        parallel_team([&](int thread, int team) {
            team = std::min(team, plan_.threads);
            if (thread >= team) return;
            const Scratch scratch = scratch_of(arguments, thread);
            for (const Phase& phase : plan_.phases) {
                const int64_t tasks = phase.tiles * problem().conv.groups * phase.row_parts;
                const auto [begin, end] = share(tasks, thread, team);
                for (int64_t task = begin; task < end; ++task) run_task(arguments, phase, task, scratch);
            }
            if (stream_) finish_streaming();
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
        bool stored = true;  // each vector goes to one place of the output: the panel stores it itself
    };

    void book_memory() {
        int64_t tile = 0, sums = 0, in_runs = 1, vectors = 1;
        for (const Phase& phase : plan_.phases) {
            for (const Block& block : phase.blocks)
                tile = std::max(tile, block.channels * phase.channel_floats * 4);
            const int64_t area = phase.height * phase.width;
            vectors = std::max(vectors, area);
            sums = std::max(sums, round_up(plan_.rows, dense_rows) * area * micro_.lanes * 4);
            const int64_t runs = phase.pointwise ? area * plan_.pixels
                                                 : static_cast<int64_t>(phase.row_used.size()) * 3 *
                                                       std::max(phase.in_w, phase.spread ? phase.width : 1);
            in_runs = std::max(in_runs, runs);
        }
        tile_bytes_ = round_up(tile + 64, 64);
        sum_bytes_ = round_up(sums + 64, 64);
        in_run_bytes_ = round_up(in_runs * static_cast<int64_t>(sizeof(CopyRun)), 64);
        out_run_bytes_ = round_up(vectors * plan_.pixels * static_cast<int64_t>(sizeof(CopyRun)), 64);
        thread_bytes_ = tile_bytes_ + sum_bytes_ + in_run_bytes_ + out_run_bytes_ + round_up(vectors * 8, 64);
    }

    Scratch scratch_of(const Arguments& arguments, int thread) const {
        std::byte* at = arguments.workspace.data() + thread * thread_bytes_;
        Scratch scratch{};
        scratch.tile = reinterpret_cast<float*>(at);
        scratch.sums = reinterpret_cast<float*>(at += tile_bytes_);
        scratch.in_runs = reinterpret_cast<CopyRun*>(at += sum_bytes_);
        scratch.out_runs = reinterpret_cast<CopyRun*>(at += in_run_bytes_);
        scratch.out_offsets = reinterpret_cast<int64_t*>(at + out_run_bytes_);
        return scratch;
    }

    // row(phase, block, row, values, offsets) writes one row of a block's stream.
    template <typename Row>
    void fill(std::span<std::byte> prepared, const Row& row) const {
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        auto* const values = reinterpret_cast<float*>(prepared.data());
        auto* const offsets = reinterpret_cast<uint16_t*>(values + plan_.value_count);
        std::memset(offsets + plan_.offset_count, 0, 64);
        parallel_for(problem().rows(), 4, [&](int64_t begin, int64_t end) {
            // Some rows at a time, so that what is read stays in cache from block to block, and what is
            // written comes in long runs.
            for (int64_t first = begin; first < end; first += fill_rows) {
                for (const Phase& phase : plan_.phases) {
                    for (const Block& block : phase.blocks) {
                        for (int64_t i = first; i < std::min(first + fill_rows, end); ++i)
                            row(phase, block, i, values + block.values, offsets + block.offsets);
                    }
                }
            }
        });
    }

    // Kept weights in the order [group][tap][kept], then the tail. Offsets fit 16 bits, and so do their sums.
    template <int constant_n>
    void fill_compact_row(const Phase& phase, const Block& block, int64_t row, const PackedView& weights,
                          float* values, uint16_t* offsets) const {
        const PackedShape& shape = weights.shape;
        const int64_t n = constant_n != 0 ? constant_n : plan_.pattern.n;
        const int64_t m = plan_.pattern.m, first_unit = block.first / m, units = block.units;
        const int64_t apart = static_cast<int64_t>(phase.taps.size()) * n;
        const auto channel_bytes = static_cast<uint32_t>(phase.channel_floats * 4);
        float* to = values;
        uint16_t* offset = offsets;
        for (const Tap& tap : phase.taps) {
            const int64_t at = ((row * shape.taps + tap.index) * shape.groups() + first_unit) * n;
            const float* value = weights.values.data() + at;
            const uint8_t* index = weights.indices.data() + at;
            auto base = static_cast<uint32_t>(tap.offset_floats * 4);
            // The next rows' kept weights, which lie too far for the processor to see it coming.
            const int64_t ahead = fill_rows * shape.taps * shape.groups() * n;
            for (int64_t i = 0; i < units * n; i += 16) prefetch(value, ahead + i);
            prefetch(index, ahead);
            for (int64_t unit = 0, i = 0; unit < units; ++unit, i += apart) {
                for (int64_t slot = 0; slot < n; ++slot) {
                    to[i + slot] = *value++;
                    offset[i + slot] = static_cast<uint16_t>(base + *index++ * channel_bytes);
                }
                base += static_cast<uint32_t>(m) * channel_bytes;
            }
            to += n;
            offset += n;
        }
        if (block.tail == 0) return;
        to = values + units * apart;
        offset = offsets + units * apart;
        const int64_t tail_first = plan_.reduction - block.tail - block.first;
        for (const Tap& tap : phase.taps) {
            const float* const tail = weights.tail.data() + (row * shape.taps + tap.index) * shape.tail();
            for (int64_t i = 0; i < block.tail; ++i) {
                *to++ = tail[i];
                *offset++ = static_cast<uint16_t>(static_cast<uint32_t>(tail_first + i) * channel_bytes +
                                                  static_cast<uint32_t>(tap.offset_floats * 4));
            }
        }
    }

    // Dense weights in the order [channel][tap]; of four rows side by side where the kernel takes four.
    void fill_dense_row(const Phase& phase, const Block& block, int64_t row, const float* from,
                        int64_t channel_stride, float* values, uint16_t* offsets) const {
        const int64_t band = row / plan_.rows, in_band = row % plan_.rows;
        float* value = values + row * block.count;
        uint16_t* offset = offsets + row * block.count;
        int64_t step = 1;
        if (plan_.dense) {
            const int64_t stream_rows = round_up(plan_.rows, dense_rows);
            value = values + band * stream_rows * block.count +
                    in_band / dense_rows * dense_rows * block.count + in_band % dense_rows;
            step = dense_rows;
            offset = offsets;
        }
        const bool with_offsets = !plan_.dense || row == 0;
        const int64_t channel_bytes = phase.channel_floats * 4;
        for (int64_t channel = 0; channel < block.units; ++channel) {
            for (const Tap& tap : phase.taps) {
                *value = from[(block.first + channel) * channel_stride + tap.index];
                value += step;
                if (with_offsets)
                    *offset++ = static_cast<uint16_t>(channel * channel_bytes + tap.offset_floats * 4);
            }
        }
        if (plan_.dense && in_band == plan_.rows - 1) zero_missing_rows(value, in_band, block.count);
    }

    // The last four rows of a dense band are filled up with zeros: `end` is one past the last row's values.
    static void zero_missing_rows(float* end, int64_t in_band, int64_t count) {
        float* const first = end - count * dense_rows;
        for (int64_t missing = 1; in_band % dense_rows + missing < dense_rows; ++missing) {
            for (int64_t i = 0; i < count; ++i) first[i * dense_rows + missing] = 0.0F;
        }
    }

    int64_t out_pixel(const Phase& phase, int64_t i, int64_t j) const {
        return (phase.y0 + i * phase.step_h) * plan_.out.w + phase.x0 + j * phase.step_w;
    }
    int64_t plane_start(int64_t plane, const Map& map) const {
        return plan_.lanes.plane_start(plane, map.channels, map.h * map.w);
    }

    // Books where pixels of the tile go in the output: both as a run and, as long as that is enough, as the
    // place of the vector that holds them.
    void place(const Phase& phase, const CopyRun& pixels, Tile& tile, const Scratch& scratch) const {
        const int64_t step = problem().block * phase.step_w;
        add_run(scratch.out_runs, tile.out_run_count, step, plan_.pixel_floats, pixels.from, pixels.to,
                pixels.pixels);
        int64_t& vector = scratch.out_offsets[pixels.to / micro_.lanes];
        const int64_t lane = pixels.to % micro_.lanes;
        if (lane == 0) vector = pixels.from;
        if (vector + lane != pixels.from || (plan_.pixels > 1 && step != plan_.pixel_floats))
            tile.stored = false;
    }

    Tile pointwise_tile(const Phase& phase, int64_t index, const Scratch& scratch) const {
        const int64_t area = phase.out_h * phase.out_w, total = plan_.planes() * area, b = problem().block;
        const auto [begin, end] =
            share(ceil_div(total, plan_.pixels), static_cast<int>(index), static_cast<int>(phase.tiles));
        Tile tile{.height = 1, .width = end - begin};
        int64_t plane = begin * plan_.pixels / area, i = begin * plan_.pixels % area / phase.out_w;
        int64_t j = begin * plan_.pixels % area % phase.out_w;
        for (int64_t position = begin * plan_.pixels, at = 0; position < end * plan_.pixels;
             ++position, at += plan_.pixel_floats) {
            if (position >= total) {
                add_run(scratch.in_runs, tile.in_run_count, 0, plan_.pixel_floats, 0, at, -1);
                tile.stored = false;
                continue;
            }
            const int64_t y = phase.taps.empty() ? -1 : i * phase.in_h + phase.taps[0].dh;
            const int64_t x = phase.taps.empty() ? -1 : j * phase.in_w + phase.taps[0].dw;
            if (y < 0 || y >= plan_.in.h || x < 0 || x >= plan_.in.w) {
                add_run(scratch.in_runs, tile.in_run_count, 0, plan_.pixel_floats, 0, at, -1);
            } else {
                add_run(scratch.in_runs, tile.in_run_count, phase.in_w * b, plan_.pixel_floats,
                        plane_start(plane, plan_.in) + (y * plan_.in.w + x) * b, at, 1);
            }
            place(phase,
                  {plane_start(plane, plan_.out) + out_pixel(phase, i, j) * b, static_cast<int32_t>(at), 1},
                  tile, scratch);
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
            share(ceil_div(phase.out_w, plan_.pixels), static_cast<int>(tx), static_cast<int>(phase.tiles_x));
        Tile tile{.height = y_end - y_begin, .width = v_end - v_begin};
        const int64_t less_rows = (phase.height - tile.height) * phase.in_h;
        const int64_t tile_rows = static_cast<int64_t>(phase.row_used.size()) - less_rows;
        const int64_t first_x = v_begin * plan_.pixels * phase.in_w + phase.dw_min;
        const int64_t segments = phase.spread ? tile.width : 1;
        for (int64_t row = 0; row < tile_rows; ++row) {
            if (phase.row_used[static_cast<size_t>(row)] == 0) continue;
            const int64_t y = y_begin * phase.in_h + phase.dh_min + row;
            for (int64_t residue = 0; residue < phase.in_w; ++residue) {
                int64_t pixels = phase.residue_pixels[static_cast<size_t>(residue)];
                if (pixels == 0) continue;
                if (!phase.spread) pixels -= (phase.width - tile.width) * plan_.pixels;
                const int64_t to = row * phase.row_floats +
                                   phase.residue_start[static_cast<size_t>(residue)] * plan_.pixel_floats;
                for (int64_t segment = 0; segment < segments; ++segment) {
                    add_row(scratch.in_runs, tile.in_run_count, plan_.lanes, plane_start(plane, plan_.in),
                            plan_.in.h, plan_.in.w,
                            {.y = y,
                             .x = first_x + residue + segment * plan_.pixels,
                             .step = phase.in_w,
                             .pixels = pixels},
                            to + segment * 2 * micro_.lanes);
                }
            }
        }
        for (int64_t y = 0; y < tile.height; ++y) {
            for (int64_t v = 0; v < tile.width; ++v) {
                const int64_t j = (v_begin + v) * plan_.pixels, at = (y * tile.width + v) * micro_.lanes;
                const int64_t out = plane_start(plane, plan_.out) + out_pixel(phase, y_begin + y, j) * b;
                const int64_t count = std::min(plan_.pixels, phase.out_w - j);
                if (count < plan_.pixels) tile.stored = false;
                place(phase, {out, static_cast<int32_t>(at), static_cast<int32_t>(count)}, tile, scratch);
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
        const int64_t quantum = plan_.dense ? dense_rows : 1;
        auto [row, row_end] = share(ceil_div(plan_.rows, quantum), static_cast<int>(row_part),
                                    static_cast<int>(phase.row_parts));
        row *= quantum;
        row_end = std::min(row_end * quantum, plan_.rows);

        const float* const in = problem().stage == Stage::ff ? arguments.src : arguments.diff_dst;
        const int64_t in_channel = plan_.in.h * plan_.in.w * b, out_channel = plan_.out.h * plan_.out.w * b;
        PackArgs pack{.channel_stride = in_channel,
                      .pixel_stride = phase.in_w * b,
                      .runs = scratch.in_runs,
                      .run_count = tile.in_run_count,
                      .pixel_floats = plan_.pixel_floats,
                      .tile = scratch.tile,
                      .tile_channel = phase.channel_floats};
        PanelArgs panel{.tile = scratch.tile,
                        .rows = row_end - row,
                        .row_pitch = phase.in_h * phase.row_floats * 4,
                        .height = static_cast<int>(tile.height),
                        .width = static_cast<int>(tile.width),
                        .sums = scratch.sums,
                        .out_offsets = scratch.out_offsets,
                        .out_row = out_channel,
                        .relu = arguments.epilogue.relu,
                        .stream = stream_ && line_aligned(arguments.out)};
        float* const out = arguments.out + (band * plan_.rows + row) * out_channel;
        if (tile.stored && !plan_.linear) panel.out = out;
        if (arguments.epilogue.bias != nullptr)
            panel.bias = arguments.epilogue.bias + band * plan_.rows + row;

        const auto* const values = reinterpret_cast<const float*>(arguments.prepared.data());
        const auto* const offsets = reinterpret_cast<const uint16_t*>(values + plan_.value_count);
        const int64_t stream_row =
            plan_.dense ? band * round_up(plan_.rows, dense_rows) + row : band * plan_.rows + row;
        for (const Block& block : phase.blocks) {
            pack.src = in + (band * plan_.reduction + block.first) * in_channel;
            pack.channels = phase.taps.empty() ? 0 : block.channels;
            if (plan_.linear) {
                pack_matrix(pack, index, tile.width);
            } else {
                micro_.pack(pack);
            }
            panel.values = values + block.values + stream_row * block.count;
            panel.offsets = offsets + block.offsets + (plan_.dense ? 0 : stream_row * block.count);
            panel.count = block.count;
            panel.first = &block == &phase.blocks.front();
            panel.last = &block == &phase.blocks.back();
            const PanelFn loop = plan_.dense    ? micro_.dense_panel
                                 : phase.spread ? micro_.spread[tile.height * tile.width - 1]
                                                : micro_.panel[tile.height - 1][tile.width - 1];
            loop(panel);
        }
        if (plan_.linear) {
            store_matrix(panel, arguments.out + band * plan_.rows + row, index, tile.width);
        } else if (!tile.stored) {
            scatter(panel, out, phase, tile, scratch);
        }
    }

    // A linear layer's maps are row-major matrices: tiles come in and go out through transposes.
    std::pair<int64_t, int64_t> matrix_rows(int64_t index) const {
        const Phase& phase = plan_.phases.front();
        const auto [begin, end] = share(ceil_div(problem().conv.n, plan_.pixels), static_cast<int>(index),
                                        static_cast<int>(phase.tiles));
        return {begin * plan_.pixels, std::min(end * plan_.pixels, problem().conv.n)};
    }

    void pack_matrix(const PackArgs& pack, int64_t index, int64_t width) const {
        const auto [begin, end] = matrix_rows(index);
        const int64_t lanes = micro_.lanes;
        for (int64_t vector = 0; vector < width; ++vector) {
            const int64_t row = begin + vector * lanes;
            TransposeArgs args{.from = pack.src + row * plan_.in.channels,
                               .from_row = plan_.in.channels,
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
                              .to = out + row * plan_.out.channels,
                              .to_row = plan_.out.channels,
                              .to_block = lanes,
                              .rows = lanes,
                              .columns = std::min(lanes, end - row),
                              .count = panel.rows / lanes});
            for (int64_t channel = whole; channel < panel.rows; ++channel) {
                const float* const from = panel.sums + (channel * width + vector) * lanes;
                for (int64_t i = 0; i < std::min(lanes, end - row); ++i) {
                    out[(row + i) * plan_.out.channels + channel] = from[i];
                }
            }
        }
    }

    // Tiles with a vector whose pixels do not lie side by side in the output go out through the carried sums.
    void scatter(const PanelArgs& panel, float* out, const Phase& phase, const Tile& tile,
                 const Scratch& scratch) const {
        const int64_t step = problem().block * phase.step_w, width = plan_.pixel_floats;
        for (int64_t row = 0; row < panel.rows; ++row) {
            const float* const sums = panel.sums + row * tile.height * tile.width * micro_.lanes;
            for (int64_t i = 0; i < tile.out_run_count; ++i) {
                const CopyRun& run = scratch.out_runs[i];
                const float* from = sums + run.to;
                float* to = out + row * panel.out_row + run.from;
                if (step == width) {
                    std::memcpy(to, from, static_cast<size_t>(run.pixels * width) * 4);
                    continue;
                }
                for (int32_t pixel = 0; pixel < run.pixels; ++pixel, from += width, to += step) {
                    for (int64_t lane = 0; lane < width; ++lane) to[lane] = from[lane];
                }
            }
        }
    }

    const MicroKernels& micro_;
    BroadcastPlan plan_;
    int64_t tile_bytes_ = 0, sum_bytes_ = 0, in_run_bytes_ = 0, out_run_bytes_ = 0, thread_bytes_ = 0;
    bool stream_ = false;  // the output is large: streaming stores
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
