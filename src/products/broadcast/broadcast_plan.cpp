#include "products/broadcast/broadcast_plan.hpp"

#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "enmesh/base/parallel.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t max_offset = 65536;  // offsets into a tile are 16 bits of bytes
constexpr double fma_latency = 4;      // cycles until an accumulator can take its next product

std::pair<int64_t, int64_t> dw_range(const std::vector<Tap>& taps) {
    const auto by_dw = [](const Tap& a, const Tap& b) { return a.dw < b.dw; };
    const auto [first, last] = std::minmax_element(taps.begin(), taps.end(), by_dw);
    return {first->dw, last->dw};
}

int64_t tile_budget_bytes() {
    static const int64_t budget = [] {
        const long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
        return std::clamp<int64_t>(l1 > 0 ? l1 * 3 / 4 : 24 << 10, 12 << 10, 60 << 10);
    }();
    return budget;
}

}  // namespace

BroadcastPlan::BroadcastPlan(const Problem& asked, const MicroKernels& kernels, bool with_dense,
                             int thread_count)
    : problem(asked),
      micro(&kernels),
      lanes(asked.block, kernels.lanes),
      dense(with_dense),
      threads(thread_count) {
    const Conv& conv = problem.conv;
    const bool ff = problem.stage == Stage::ff;
    in = ff ? Map{conv.c, conv.h, conv.w} : Map{conv.k, conv.out_h(), conv.out_w()};
    out = ff ? Map{conv.k, conv.out_h(), conv.out_w()} : Map{conv.c, conv.h, conv.w};
    pixel_floats = lanes.pixel_floats;
    pixels = lanes.pixels;
    pattern = problem.sparse() == Operand::weights ? problem.pattern() : Pattern{1, 1};
    rows = problem.rows() / conv.groups;
    reduction = problem.reduction();
    make_phases();
    for (Phase& phase : phases) {
        if (!choose_tile(phase)) {
            declined = "the window of one group of channels is larger than a tile may be";
            return;
        }
        lay_out(phase);
    }
    linear = problem.block == 1 && in.h * in.w == 1 && out.h * out.w == 1 && !phases.front().taps.empty();
}

void BroadcastPlan::make_phases() {
    const Conv& conv = problem.conv;
    const bool ff = problem.stage == Stage::ff;
    const std::vector<AxisPhase> columns = phases_of(conv.across(), ff);
    for (const AxisPhase& y : phases_of(conv.down(), ff)) {
        for (const AxisPhase& x : columns) {
            Phase phase{.out_h = y.count,
                        .out_w = x.count,
                        .y0 = y.first,
                        .x0 = x.first,
                        .step_h = y.step,
                        .step_w = x.step,
                        .in_h = y.read_step,
                        .in_w = x.read_step};
            for (const AxisPhase::Tap& r : y.taps)
                for (const AxisPhase::Tap& s : x.taps)
                    phase.taps.push_back({r.index * conv.s + s.index, r.shift, s.shift});
            add_phase(std::move(phase));
        }
    }
}

// Taps that read nothing but padding are dropped (a 3x3 window on a 1x1 image has one tap).
void BroadcastPlan::add_phase(Phase phase) {
    std::erase_if(phase.taps, [&](const Tap& tap) {
        return !reads(tap.dh, phase.in_h, phase.out_h, in.h) || !reads(tap.dw, phase.in_w, phase.out_w, in.w);
    });
    phase.pointwise = phase.taps.size() <= 1;
    phases.push_back(std::move(phase));
}

bool BroadcastPlan::reads(int64_t first, int64_t step, int64_t count, int64_t size) {
    for (int64_t i = 0; i < count; ++i) {
        const int64_t at = first + i * step;
        if (at >= 0 && at < size) return true;
    }
    return false;
}

// Whether segments serve: the micro kernels have loops for them, every vector's taps stay inside its own, and
// all tiles are equally wide.
bool BroadcastPlan::can_spread(const Phase& phase, int64_t height, int64_t width) const {
    if (dense || phase.pointwise || pixel_floats != 1 || phase.in_h != 1 || phase.in_w != 1) return false;
    if (micro->spread[height * width - 1] == nullptr || ceil_div(phase.out_w, pixels) % width != 0)
        return false;
    const auto [first, last] = dw_range(phase.taps);
    return last - first <= micro->lanes;
}

// Sizes that follow from the tile's height and width.
void BroadcastPlan::shape_tile(Phase& phase, int64_t height, int64_t width, bool spread) const {
    phase.height = height;
    phase.width = width;
    phase.spread = spread;
    if (phase.pointwise) {
        phase.row_floats = phase.channel_floats = width * micro->lanes;
        return;
    }
    const auto by_dh = [](const Tap& a, const Tap& b) { return a.dh < b.dh; };
    const auto& taps = phase.taps;
    phase.dh_min = std::min_element(taps.begin(), taps.end(), by_dh)->dh;
    phase.dw_min = dw_range(taps).first;
    const int64_t dh_max = std::max_element(taps.begin(), taps.end(), by_dh)->dh;
    phase.residue_pixels.assign(static_cast<size_t>(phase.in_w), 0);
    phase.row_used.assign(static_cast<size_t>(dh_max - phase.dh_min + (height - 1) * phase.in_h + 1), 0);
    for (const Tap& tap : taps) {
        const int64_t column = tap.dw - phase.dw_min;
        int64_t& most = phase.residue_pixels[static_cast<size_t>(column % phase.in_w)];
        most = std::max(most, column / phase.in_w + (spread ? 1 : width) * pixels);
        for (int64_t y = 0; y < height; ++y) {
            phase.row_used[static_cast<size_t>(tap.dh - phase.dh_min + y * phase.in_h)] = 1;
        }
    }
    phase.residue_start.assign(phase.residue_pixels.size(), 0);
    std::exclusive_scan(phase.residue_pixels.begin(), phase.residue_pixels.end(), phase.residue_start.begin(),
                        int64_t{0});
    phase.row_floats = spread ? width * 2 * micro->lanes
                              : (phase.residue_start.back() + phase.residue_pixels.back()) * pixel_floats;
    phase.channel_floats = static_cast<int64_t>(phase.row_used.size()) * phase.row_floats;
}

// Channels that one tile may hold, a multiple of the pattern's M; 0 if not even one group fits.
int64_t BroadcastPlan::tile_channels(const Phase& phase) const {
    const int64_t bytes = phase.channel_floats * 4;
    const int64_t unit = pattern.m, tail = reduction % unit;
    int64_t units = std::max<int64_t>(1, tile_budget_bytes() / (bytes * unit));
    units = std::min(units, std::max<int64_t>(1, reduction / unit));
    return (units * unit + tail) * bytes > max_offset ? 0 : units * unit;
}

// Multiplies with their broadcasts, sums carried from block to block, and packing. A vector that begins off
// its own alignment crosses a cache line every other time (every time if it is as long as one), and is loaded
// twice.
double BroadcastPlan::estimated_cycles(const Phase& phase, int64_t channels) const {
    const int64_t vectors = ceil_div(phase.out_w, pixels);
    const int64_t positions = ceil_div(planes() * phase.out_h * phase.out_w, pixels);
    const auto tiles = static_cast<double>(phase.pointwise ? ceil_div(positions, phase.width)
                                                           : ceil_div(phase.out_h, phase.height) *
                                                                 ceil_div(vectors, phase.width) * planes());
    const auto sums = static_cast<double>(phase.pointwise ? positions : phase.out_h * vectors * planes());
    const double products =
        static_cast<double>(rows * reduction) * static_cast<double>(phase.taps.size()) * pattern.density();
    const double blocks = static_cast<double>(rows * ceil_div(reduction, channels));
    const double packed = static_cast<double>(phase.channel_floats * reduction) / micro->lanes;
    double loads = 1;
    if (!phase.pointwise && !phase.spread && pixel_floats < micro->lanes) {
        const auto aligned = std::count_if(phase.taps.begin(), phase.taps.end(), [&](const Tap& tap) {
            return (tap.dw - phase.dw_min) * pixel_floats % micro->lanes == 0;
        });
        loads +=
            (1 - static_cast<double>(aligned) / static_cast<double>(phase.taps.size())) * micro->lanes / 16;
    }
    return products * std::max((loads * sums + 1.3 * tiles) / 2, fma_latency * tiles) +
           blocks * (sums * 1.2 + tiles * 6) + tiles * packed * 1.6;
}

// The tile with the least estimated cycles.
bool BroadcastPlan::choose_tile(Phase& phase) const {
    const int64_t vectors = ceil_div(phase.out_w, pixels);
    const int64_t positions = ceil_div(planes() * phase.out_h * phase.out_w, pixels);
    const int64_t max_height = phase.pointwise ? 1 : std::min<int64_t>(MicroKernels::max_height, phase.out_h);
    double best = 0;
    std::optional<Phase> choice;
    const auto consider = [&](int64_t height, int64_t width, bool spread) {
        shape_tile(phase, height, width, spread);
        const int64_t channels = tile_channels(phase);
        if (channels == 0) return;
        const double cycles = estimated_cycles(phase, channels);
        if (choice && cycles >= best) return;
        best = cycles;
        choice = phase;
    };
    for (int64_t height = 1; height <= max_height; ++height) {
        const int64_t most = std::min<int64_t>(
            {micro->max_vectors, micro->max_sums / height, phase.pointwise ? positions : vectors});
        for (int64_t width = 1; width <= most; ++width) {
            consider(height, width, false);
            if (can_spread(phase, height, width)) consider(height, width, true);
        }
    }
    if (!choice) return false;
    phase = std::move(*choice);
    phase.tiles_y = ceil_div(phase.out_h, phase.height);
    phase.tiles_x = ceil_div(phase.pointwise ? positions : vectors, phase.width);
    phase.tiles = phase.pointwise ? phase.tiles_x : planes() * phase.tiles_y * phase.tiles_x;
    return true;
}

void BroadcastPlan::lay_out(Phase& phase) {
    for (Tap& tap : phase.taps) {
        if (phase.pointwise) continue;
        const int64_t column = tap.dw - phase.dw_min;
        tap.offset_floats =
            (tap.dh - phase.dh_min) * phase.row_floats +
            (phase.residue_start[static_cast<size_t>(column % phase.in_w)] + column / phase.in_w) *
                pixel_floats;
    }
    const int64_t units = reduction / pattern.m,
                  per_block = std::max<int64_t>(1, tile_channels(phase) / pattern.m);
    const int64_t count = std::max<int64_t>(1, ceil_div(units, per_block));
    const int64_t bands = problem.conv.groups, stream_rows = dense ? round_up(rows, dense_rows) : rows;
    const int64_t taps = static_cast<int64_t>(phase.taps.size());
    for (int64_t i = 0; i < count; ++i) {
        const auto [begin, end] = share(units, static_cast<int>(i), static_cast<int>(count));
        Block block{.first = begin * pattern.m, .channels = (end - begin) * pattern.m, .units = end - begin};
        if (i == count - 1) block.tail = reduction % pattern.m;
        block.channels += block.tail;
        block.count = (block.units * pattern.n + block.tail) * taps;
        block.values = value_count;
        block.offsets = offset_count;
        value_count += round_up(bands * stream_rows * block.count, 16);
        offset_count += dense ? block.count : bands * rows * block.count;
        phase.blocks.push_back(block);
    }
    split_rows(phase);
}

// Where tiles are too few to keep the threads evenly busy, a task takes a share of the rows.
void BroadcastPlan::split_rows(Phase& phase) const {
    const int64_t tasks = phase.tiles * problem.conv.groups, most = std::max<int64_t>(1, rows / 16);
    for (phase.row_parts = 1; phase.row_parts < most; ++phase.row_parts) {
        const int64_t parts = tasks * phase.row_parts;
        if (ceil_div(parts, threads) * threads * 100 <= parts * 108) break;
    }
}

}  // namespace enmesh::products
