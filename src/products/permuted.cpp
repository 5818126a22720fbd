// FF and BP with channels in the vector lanes, on bfloat16.
//
// A block of 32 input channels of a pixel is one register. An output channel keeps a few of them, and a
// permutation brings two of those into its lane: with 16 output channels in the lanes, one entry of the
// prepared weights (16 pairs of channels and 16 pairs of weights) is one permutation and one dot product per
// pixel. The entries are read once for a tile of pixels whose sums stay in registers through the whole
// reduction.
//
// Output pixels are enumerated over all images, so that a tile is short only at the end. Which pixel a tap
// reads is a gather. BP of a strided convolution is cut into phases, one for each residue of the output
// pixel, each with its own taps: inserted zeros are never multiplied.

#include "products/permuted.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t lanes = permuted_lanes;
constexpr int64_t width = permuted_width;
// Lines of 16 channels in a map; whatever lies outside adds `outside`, so that a sum of three is negative
// then.
constexpr int64_t max_lines = int64_t{1} << 29;
constexpr int32_t outside = -static_cast<int32_t>(max_lines);
// What a thread's tiles read is used by all output channels in turn: it should stay in the L2 cache.
constexpr int64_t chunk_bytes = 128 << 10;

// One dimension of a phase: outputs first, first + step, ..., and what each tap reads for each.
struct Axis {
    int64_t count = 0, first = 0, step = 1;
    std::vector<int32_t> taps = {};
    std::vector<int32_t> reads = {};  // [count][taps]: lines, or `outside`
};

struct AxisShape {
    int64_t in, out;  // pixels of the maps read and written
    int64_t window, stride, pad, dilation;
    int64_t lines;  // per pixel read
};

// Taps that read nothing but padding are left out.
void add_tap(Axis& axis, int64_t tap, const std::vector<int32_t>& reads) {
    if (std::ranges::all_of(reads, [](int32_t at) { return at < 0; })) return;
    const int64_t before = static_cast<int64_t>(axis.taps.size());
    std::vector<int32_t> all;
    for (int64_t i = 0; i < axis.count; ++i) {
        all.insert(all.end(), axis.reads.begin() + i * before, axis.reads.begin() + (i + 1) * before);
        all.push_back(reads[static_cast<size_t>(i)]);
    }
    axis.reads = std::move(all);
    axis.taps.push_back(static_cast<int32_t>(tap));
}

// Output `at` of FF reads at * stride - pad + tap * dilation; output `at` of BP the input of which that is
// true.
Axis make_axis(const AxisShape& shape, Stage stage, int64_t residue) {
    Axis axis;
    if (stage == Stage::bp) axis = {.first = residue, .step = shape.stride};
    axis.count = ceil_div(shape.out - axis.first, axis.step);
    std::vector<int32_t> reads(static_cast<size_t>(axis.count));
    for (int64_t tap = 0; tap < shape.window; ++tap) {
        for (int64_t i = 0; i < axis.count; ++i) {
            const int64_t at = axis.first + i * axis.step;
            int64_t in = at * shape.stride - shape.pad + tap * shape.dilation;
            if (stage == Stage::bp) {
                const int64_t scaled = at + shape.pad - tap * shape.dilation;
                in = scaled % shape.stride == 0 ? scaled / shape.stride : -1;
            }
            reads[static_cast<size_t>(i)] =
                in >= 0 && in < shape.in ? static_cast<int32_t>(in * shape.lines) : outside;
        }
        add_tap(axis, tap, reads);
    }
    return axis;
}

// Output pixels that share their taps. Tiles share them out evenly: sizes differ by at most one.
struct Phase {
    Axis y, x;
    int64_t pixels = 0, tiles = 0;  // over all images
};

class Permuted final : public PermutedProduct {
  public:
    Permuted(const Problem& problem, const PermutedLoops& loops);

    std::string_view kernel() const override { return name_; }
    size_t prepared_bytes() const override { return static_cast<size_t>(out_.blocks * vector_stride() * 2); }
    size_t workspace_bytes() const override { return static_cast<size_t>(threads_) * thread_bytes(); }
    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override;
    void run(const Arguments& arguments) const override;

  private:
    struct Map {
        int64_t blocks, h, w;  // blocks of 16 channels
        int64_t area() const { return h * w; }
    };
    struct Unit {
        int64_t block, vectors;  // the first block of output channels, and how many
    };

    void count_entries();
    // Output channels run unit by unit, none of which spans two groups.
    int64_t units_of_group() const { return ceil_div(group_blocks(), permuted_vectors); }
    int64_t units() const { return problem_.conv.groups * units_of_group(); }
    int64_t group_blocks() const { return out_.blocks / problem_.conv.groups; }
    Unit unit(int64_t index) const;

    int64_t taps() const { return problem_.conv.taps(); }
    // uint16_t of one tap of one vector, and of all of them.
    int64_t tap_stride() const { return tap_entries_ * permuted_entry; }
    int64_t vector_stride() const { return taps() * tap_stride(); }

    size_t tiles_bytes() const { return static_cast<size_t>(chunk_tiles_) * sizeof(PermutedTile); }
    size_t thread_bytes() const {
        return static_cast<size_t>(round_up(
            static_cast<int64_t>(tiles_bytes()) + chunk_tiles_ * taps() * int64_t{sizeof(PermutedTap)}, 64));
    }

    void prepare_vector(const PackedView& weights, const Unit& unit, int64_t vector, int64_t tap,
                        uint16_t* stream) const;
    void describe(const Phase& phase, int64_t index, PermutedTap* taps, PermutedTile& tile) const;
    void run_tiles(const Arguments& arguments, const Phase& phase, std::pair<int64_t, int64_t> tiles,
                   std::pair<int64_t, int64_t> units, std::byte* scratch) const;
    void run_unit(const Arguments& arguments, int64_t index, std::span<const PermutedTile> tiles) const;

    Problem problem_;
    const PermutedLoops* loops_;
    std::string name_;
    int threads_;
    Map in_, out_;
    std::vector<Phase> phases_;
    std::vector<int32_t> entries_;  // per block of 32 channels of a group's reduction
    int64_t tap_entries_ = 0;       // their sum
    int64_t chunk_tiles_ = 0;
};

Permuted::Permuted(const Problem& problem, const PermutedLoops& loops)
    : problem_(problem),
      loops_(&loops),
      name_(fmt::format("permuted bf16 {}", loops.name)),
      threads_(threads()) {
    const Conv& conv = problem.conv;
    const bool ff = problem.stage == Stage::ff;
    const Map src{conv.c / lanes, conv.h, conv.w}, dst{conv.k / lanes, conv.out_h(), conv.out_w()};
    in_ = ff ? src : dst;
    out_ = ff ? dst : src;
    count_entries();
    const AxisShape y{in_.h, out_.h, conv.r, conv.stride_h, conv.pad_top, conv.dilation_h, in_.w};
    const AxisShape x{in_.w, out_.w, conv.s, conv.stride_w, conv.pad_left, conv.dilation_w, 1};
    for (int64_t ry = 0; ry < (ff ? 1 : std::min(conv.stride_h, out_.h)); ++ry) {
        for (int64_t rx = 0; rx < (ff ? 1 : std::min(conv.stride_w, out_.w)); ++rx) {
            Phase phase{make_axis(y, problem.stage, ry), make_axis(x, problem.stage, rx)};
            phase.pixels = conv.n * phase.y.count * phase.x.count;
            phase.tiles = ceil_div(phase.pixels, permuted_pixels);
            phases_.push_back(std::move(phase));
        }
    }
    chunk_tiles_ = std::clamp<int64_t>(chunk_bytes / (permuted_pixels * in_.blocks * lanes * 2), 8, 128);
}

// How many entries a block of 32 channels needs: the most that one output channel can keep of it, in pairs.
// Groups that straddle blocks may keep theirs in either.
void Permuted::count_entries() {
    const int64_t m = problem_.pattern.m, n = problem_.pattern.n, reduction = problem_.reduction();
    const int64_t grouped = reduction / m * m;
    for (int64_t begin = 0; begin < reduction; begin += width) {
        const int64_t end = std::min(begin + width, reduction);
        int64_t kept = std::max<int64_t>(0, end - std::max(begin, grouped));
        for (int64_t group = begin / m * m; group < std::min(end, grouped); group += m)
            kept += std::min(n, std::min(end, group + m) - std::max(begin, group));
        entries_.push_back(static_cast<int32_t>(ceil_div(kept, 2)));
        tap_entries_ += entries_.back();
    }
}

Permuted::Unit Permuted::unit(int64_t index) const {
    const int64_t group = index / units_of_group(), first = index % units_of_group() * permuted_vectors;
    return {group * group_blocks() + first, std::min<int64_t>(permuted_vectors, group_blocks() - first)};
}

// One tap of 16 output channels. A lane that keeps fewer weights of a block than its entries hold is filled
// up with zeros at the last channel that it keeps; every block has one, since it holds a whole group or the
// tail.
void Permuted::prepare_vector(const PackedView& weights, const Unit& unit, int64_t vector, int64_t tap,
                              uint16_t* stream) const {
    const PackedShape& shape = weights.shape;
    const int64_t groups = shape.groups(), tail = shape.tail(), n = shape.pattern.n, m = shape.pattern.m;
    const int64_t entry_stride = unit.vectors * permuted_entry;
    for (int64_t lane = 0; lane < lanes; ++lane) {
        const int64_t row = ((unit.block + vector) * lanes + lane) * shape.taps + tap;
        uint16_t* at = stream + vector * permuted_entry + 2 * lane;
        int64_t begin = 0, half = 0, last = 0;
        size_t block = 0;
        int32_t left = entries_[0] * 2;
        const auto put = [&](int64_t channel, float value) {
            last = channel;
            at[half] = static_cast<uint16_t>(channel - begin);
            at[half + width] = to_bfloat16(value).bits;
            at += half * entry_stride;
            half ^= 1;
            --left;
        };
        const auto next_block = [&] {
            while (left > 0) put(last, 0.0F);
            begin += width;
            left = ++block < entries_.size() ? entries_[block] * 2 : 0;
        };
        const float* value = weights.values.data() + row * groups * n;
        const uint8_t* index = weights.indices.data() + row * groups * n;
        for (int64_t first = 0; first < groups * m; first += m) {
            for (int64_t slot = 0; slot < n; ++slot) {
                const int64_t channel = first + *index++;
                if (channel >= begin + width) next_block();
                put(channel, *value++);
            }
        }
        for (int64_t i = 0; i < tail; ++i) {
            if (groups * m + i >= begin + width) next_block();
            put(groups * m + i, weights.tail[static_cast<size_t>(row * tail + i)]);
        }
        next_block();
    }
}

void Permuted::prepare(const PackedView& weights, std::span<std::byte> prepared) const {
    require_bytes(prepared, prepared_bytes(), "the prepared weights");
    const PackedShape shape = weights_shape(problem_.conv, problem_.stage, problem_.pattern);
    if (weights.shape != shape || weights.values.size() != static_cast<size_t>(shape.kept()) ||
        weights.indices.size() != weights.values.size() ||
        weights.tail.size() != static_cast<size_t>(shape.tail_size())) {
        fail("{}: compact weights of another shape", to_string(problem_));
    }
    auto* const streams = reinterpret_cast<uint16_t*>(prepared.data());
    parallel_for(units() * taps(), 1, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
            const Unit part = unit(item / taps());
            const int64_t tap = item % taps();
            for (int64_t vector = 0; vector < part.vectors; ++vector) {
                prepare_vector(weights, part, vector, tap,
                               streams + part.block * vector_stride() + tap * part.vectors * tap_stride());
            }
        }
    });
}

// Tile `index` of a phase: where its pixels go and, for each tap that reaches one, where they come from.
void Permuted::describe(const Phase& phase, int64_t index, PermutedTap* taps, PermutedTile& tile) const {
    const auto [begin, end] = share(phase.pixels, static_cast<int>(index), static_cast<int>(phase.tiles));
    const int64_t y_taps = static_cast<int64_t>(phase.y.taps.size()),
                  x_taps = static_cast<int64_t>(phase.x.taps.size());
    std::array<int32_t, permuted_pixels> images, lines;
    std::array<const int32_t*, permuted_pixels> rows, columns;
    images.fill(outside);
    rows.fill(phase.y.reads.data());
    columns.fill(phase.x.reads.data());
    tile = {.pixels = static_cast<int32_t>(end - begin), .taps = taps};
    int64_t x = begin % phase.x.count, y = begin / phase.x.count % phase.y.count,
            image = begin / phase.x.count / phase.y.count;
    for (int i = 0; i < tile.pixels; ++i) {
        const int64_t out_y = phase.y.first + y * phase.y.step, out_x = phase.x.first + x * phase.x.step;
        tile.lines[i] = static_cast<int32_t>(image * out_.blocks * out_.area() + out_y * out_.w + out_x);
        images[i] = static_cast<int32_t>(image * in_.blocks * in_.area());
        rows[i] += y * y_taps;
        columns[i] += x * x_taps;
        if (++x < phase.x.count) continue;
        x = 0;
        if (++y < phase.y.count) continue;
        y = 0;
        ++image;
    }
    for (int64_t r = 0; r < y_taps; ++r) {
        for (int i = 0; i < permuted_pixels; ++i) lines[i] = images[i] + rows[i][r];
        for (int64_t s = 0; s < x_taps; ++s) {
            PermutedTap& tap = taps[tile.tap_count];
            tap.tap = phase.y.taps[r] * static_cast<int32_t>(problem_.conv.s) + phase.x.taps[s];
            tap.live = 0;
            for (int i = 0; i < permuted_pixels; ++i) {
                const int32_t line = lines[i] + columns[i][s];
                tap.live |= static_cast<uint32_t>(line >= 0) << i;
                tap.lines[i] = std::max(line, 0);
            }
            if (tap.live != 0) ++tile.tap_count;
        }
    }
}

void Permuted::run_unit(const Arguments& arguments, int64_t index,
                        std::span<const PermutedTile> tiles) const {
    const Unit part = unit(index);
    const int64_t group = index / units_of_group();
    const int64_t in_plane = in_.area() * lanes, out_plane = out_.area() * lanes;
    PermutedArgs args{
        .src = arguments.src + group * (in_.blocks / problem_.conv.groups) * in_plane,
        .plane = in_plane,
        .weights =
            reinterpret_cast<const uint16_t*>(arguments.prepared.data()) + part.block * vector_stride(),
        .tap_stride = part.vectors * tap_stride(),
        .entries = entries_.data(),
        .whole_blocks = problem_.reduction() / width,
        .half_block = problem_.reduction() % width != 0,
        .out = arguments.out + part.block * out_plane,
        .out_plane = out_plane,
        .bias = arguments.bias == nullptr ? nullptr : arguments.bias + part.block * lanes,
    };
    for (const PermutedTile& tile : tiles) {
        args.tile = &tile;
        loops_->multiply[part.vectors - 1][tile.pixels - 1](args);
    }
}

void Permuted::run_tiles(const Arguments& arguments, const Phase& phase, std::pair<int64_t, int64_t> tiles,
                         std::pair<int64_t, int64_t> units, std::byte* scratch) const {
    auto* const chunk = reinterpret_cast<PermutedTile*>(scratch);
    auto* const chunk_taps = reinterpret_cast<PermutedTap*>(scratch + tiles_bytes());
    for (int64_t begin = tiles.first; begin < tiles.second; begin += chunk_tiles_) {
        const int64_t count = std::min(chunk_tiles_, tiles.second - begin);
        for (int64_t i = 0; i < count; ++i) describe(phase, begin + i, chunk_taps + i * taps(), chunk[i]);
        for (int64_t index = units.first; index < units.second; ++index)
            run_unit(arguments, index, {chunk, static_cast<size_t>(count)});
    }
}

// Threads share the tiles; where these are few, they share single units of them.
void Permuted::run(const Arguments& arguments) const {
    require_bytes(arguments.prepared, prepared_bytes(), "the prepared weights");
    require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
    parallel_team([&](int thread, int team) {
        team = std::min(team, threads_);
        if (thread >= team) return;
        std::byte* const scratch = arguments.workspace.data() + static_cast<size_t>(thread) * thread_bytes();
        for (const Phase& phase : phases_) {
            const int64_t parts = phase.tiles >= 16 * team ? 1 : units();
            const auto [begin, end] = share(parts * phase.tiles, thread, team);
            for (int64_t item = begin; item < end;) {
                const int64_t part = item / phase.tiles, stop = std::min(end, (part + 1) * phase.tiles);
                const int64_t first = part * phase.tiles;
                run_tiles(arguments, phase, {item - first, stop - first},
                          share(units(), static_cast<int>(part), static_cast<int>(parts)), scratch);
                item = stop;
            }
        }
    });
}

}  // namespace

std::string permuted_declines(const Problem& problem) {
    const Conv& conv = problem.conv;
    if (problem.stage == Stage::wg || problem.sparse != Operand::weights)
        return "it multiplies N:M weights, in FF and BP only";
    if (conv.c / conv.groups % lanes != 0 || conv.k / conv.groups % lanes != 0)
        return fmt::format("channels{} are not whole blocks of {}", conv.groups > 1 ? " of a group" : "",
                           lanes);
    const int64_t lines = std::max(conv.src_size(), conv.dst_size()) / lanes;
    if (lines >= max_lines) return "a map is larger than its offsets can tell";
    return {};
}

const PermutedLoops& permuted_loops([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512) return has_avx512_bf16() ? permuted_avx512_bf16 : permuted_avx512;
#endif
    return permuted_portable;
}

std::unique_ptr<PermutedProduct> plan_permuted_on(const PermutedLoops& loops, const Problem& problem) {
    check(problem.conv);
    if (const std::string reason = permuted_declines(problem); !reason.empty())
        refuse("{}: the permuted product declines: {}", to_string(problem), reason);
    check_pattern(problem.pattern);
    return std::make_unique<Permuted>(problem, loops);
}

std::unique_ptr<PermutedProduct> plan_permuted(const Problem& problem, const PlanOptions& options) {
    return plan_permuted_on(permuted_loops(options.isa), problem);
}

}  // namespace enmesh::products
