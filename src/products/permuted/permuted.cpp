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

#include "products/permuted/permuted.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/streaming.hpp"
#include "products/kernels.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t lanes = permuted_lanes;
constexpr int64_t width = permuted_width;
// What a thread's tiles read is used by all output channels in turn: it should stay in the L2 cache.
constexpr int64_t chunk_bytes = 128 << 10;
constexpr int64_t max_chunk_tiles = 128;

// One dimension of a phase of a map whose pixels are read from `in` others. Taps that read nothing but padding
// are left out.
struct Axis : AxisPhase {
    Axis(AxisPhase phase, int64_t pixels) : AxisPhase(std::move(phase)), in(pixels) {
        std::erase_if(taps, [&](const Tap& tap) {
            for (int64_t i = 0; i < count; ++i)
                if (inside(i, tap)) return false;
            return true;
        });
    }
    bool inside(int64_t i, const Tap& tap) const { return reads(i, tap) >= 0 && reads(i, tap) < in; }

    int64_t in;
};

// The tiles of some images; for others of as many they are the same. Pixels are shared out evenly: the sizes
// of tiles differ by at most one.
struct Tiling {
    int64_t images = 0;
    std::vector<PermutedTile> tiles = {};
    std::vector<uint8_t> live = {};  // [tiles][taps]: PermutedArgs::live

    int64_t count() const { return static_cast<int64_t>(tiles.size()); }
};

// Output pixels that share their taps: `repeats` times `whole`, then what is left of the images.
struct Phase {
    Axis y, x;
    std::vector<PermutedTap> taps = {};
    int64_t repeats = 0;
    Tiling whole = {}, rest = {};

    int64_t pixels() const { return y.count * x.count; }
    int64_t tiles() const { return repeats * whole.count() + rest.count(); }
};

// How many images a tiling spans: few, but so many that hardly a tile is short and that a chunk is full.
int64_t tiled_images(int64_t n, int64_t pixels) {
    int64_t images = 1;
    const auto slots = [&] { return ceil_div(images * pixels, permuted_pixels) * permuted_pixels; };
    while (images < n && slots() * 49 > images * pixels * 50) ++images;
    return std::min(n, images * std::max<int64_t>(1, max_chunk_tiles * permuted_pixels / (images * pixels)));
}

class Permuted final : public Product {
  public:
    Permuted(const Problem& problem, const PermutedLoops& loops);

    std::string_view kernel() const override { return name_; }
    size_t prepared_bytes() const override { return static_cast<size_t>(out_.blocks * vector_stride() * 2); }
    size_t workspace_bytes() const override { return 0; }
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
    int64_t units() const { return problem().conv.groups * units_of_group(); }
    int64_t group_blocks() const { return out_.blocks / problem().conv.groups; }
    Unit unit(int64_t index) const;

    int64_t taps() const { return problem().conv.taps(); }
    // uint16_t of one tap of one vector, and of all of them.
    int64_t tap_stride() const { return tap_entries_ * permuted_entry; }
    int64_t vector_stride() const { return taps() * tap_stride(); }

    void prepare_vector(const PackedView& weights, const Unit& unit, int64_t vector, int64_t tap,
                        uint16_t* stream) const;
    Tiling make_tiling(const Phase& phase, int64_t images) const;
    void run_part(const Arguments& arguments, const Phase& phase, std::pair<int64_t, int64_t> tiles,
                  std::pair<int64_t, int64_t> units) const;
    void run_unit(const PermutedArgs& chunk, const Arguments& arguments, int64_t index, int64_t tiles) const;

    const PermutedLoops* loops_;
    std::string name_;
    Map in_, out_;
    std::vector<Phase> phases_;
    std::vector<int32_t> entries_;  // per block of 32 channels of a group's reduction
    int64_t tap_entries_ = 0;       // their sum
    int64_t chunk_tiles_ = 0;
    bool stream_ = false;  // the written map is large: streaming stores, where it lies on cache lines
};

Permuted::Permuted(const Problem& problem, const PermutedLoops& loops)
    : Product(problem), loops_(&loops), name_(fmt::format("permuted bf16 {}", loops.name)) {
    const Conv& conv = problem.conv;
    const bool ff = problem.stage == Stage::ff;
    const Map src{conv.c / lanes, conv.h, conv.w}, dst{conv.k / lanes, conv.out_h(), conv.out_w()};
    in_ = ff ? src : dst;
    out_ = ff ? dst : src;
    stream_ = streams(conv.n * out_.blocks * out_.area() * lanes * static_cast<int64_t>(sizeof(float)));
    count_entries();
    const std::vector<AxisPhase> columns = phases_of(conv.across(), ff);
    for (const AxisPhase& y : phases_of(conv.down(), ff)) {
        for (const AxisPhase& x : columns) {
            Phase phase{Axis(y, in_.h), Axis(x, in_.w)};
            for (const Axis::Tap& r : phase.y.taps) {
                for (const Axis::Tap& s : phase.x.taps)
                    phase.taps.push_back({r.index * conv.s + s.index, (r.shift * in_.w + s.shift) * lanes});
            }
            const int64_t images = tiled_images(conv.n, phase.pixels());
            phase.repeats = conv.n / images;
            phase.whole = make_tiling(phase, images);
            if (conv.n % images != 0) phase.rest = make_tiling(phase, conv.n % images);
            phases_.push_back(std::move(phase));
        }
    }
    chunk_tiles_ =
        std::clamp<int64_t>(chunk_bytes / (permuted_pixels * in_.blocks * lanes * 2), 8, max_chunk_tiles);
}

Tiling Permuted::make_tiling(const Phase& phase, int64_t images) const {
    const Axis &y = phase.y, &x = phase.x;
    const int64_t pixels = images * phase.pixels(), count = ceil_div(pixels, permuted_pixels);
    Tiling tiling{images};
    for (int64_t index = 0; index < count; ++index) {
        const auto [begin, end] = share(pixels, static_cast<int>(index), static_cast<int>(count));
        PermutedTile tile{.pixels = end - begin};
        std::vector<uint8_t> live(phase.taps.size());
        for (int64_t pixel = begin; pixel < end; ++pixel) {
            const int64_t j = pixel % x.count, i = pixel / x.count % y.count, image = pixel / phase.pixels();
            const int64_t out = (y.first + i * y.step) * out_.w + x.first + j * x.step;
            const int64_t in = i * y.read_step * in_.w + j * x.read_step;
            tile.out[pixel - begin] = (image * out_.blocks * out_.area() + out) * lanes;
            tile.in[pixel - begin] = (image * in_.blocks * in_.area() + in) * lanes;
            auto at = live.begin();
            for (const Axis::Tap& r : y.taps) {
                for (const Axis::Tap& s : x.taps) {
                    const int bit = y.inside(i, r) && x.inside(j, s) ? 1 << (pixel - begin) : 0;
                    *at = static_cast<uint8_t>(*at | bit);
                    ++at;
                }
            }
        }
        tiling.tiles.push_back(tile);
        tiling.live.insert(tiling.live.end(), live.begin(), live.end());
    }
    return tiling;
}

// How many entries a block of 32 channels needs: the most that one output channel can keep of it, in pairs.
// Groups that straddle blocks may keep theirs in either.
void Permuted::count_entries() {
    const int64_t m = problem().pattern().m, n = problem().pattern().n, reduction = problem().reduction();
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
    const PackedShape shape = weights_shape(problem().conv, problem().stage, problem().pattern());
    if (weights.shape != shape || weights.values.size() != static_cast<size_t>(shape.kept()) ||
        weights.indices.size() != weights.values.size() ||
        weights.tail.size() != static_cast<size_t>(shape.tail_size())) {
        fail("{}: compact weights of another shape", to_string(problem()));
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

// One unit of a chunk of tiles.
void Permuted::run_unit(const PermutedArgs& chunk, const Arguments& arguments, int64_t index,
                        int64_t tiles) const {
    const Unit part = unit(index);
    const int64_t group = index / units_of_group();
    PermutedArgs args = chunk;
    args.src += group * (in_.blocks / problem().conv.groups) * args.plane;
    args.weights =
        reinterpret_cast<const uint16_t*>(arguments.prepared.data()) + part.block * vector_stride();
    args.tap_stride = part.vectors * tap_stride();
    args.out += part.block * args.out_plane;
    if (arguments.epilogue.bias != nullptr) args.bias = arguments.epilogue.bias + part.block * lanes;
    const PermutedFn* const multiply = loops_->multiply[part.vectors - 1];
    for (int64_t i = 0; i < tiles; ++i) {
        multiply[args.tile->pixels - 1](args);
        ++args.tile;
        args.live += args.tap_count;
    }
}

// Some tiles of a phase, by chunks that stay in the cache, through some units.
void Permuted::run_part(const Arguments& arguments, const Phase& phase, std::pair<int64_t, int64_t> tiles,
                        std::pair<int64_t, int64_t> units) const {
    const int64_t in_plane = in_.area() * lanes, out_plane = out_.area() * lanes;
    const int64_t whole = phase.whole.count();
    const uint16_t* const src = problem().stage == Stage::ff ? arguments.src_bf16 : arguments.diff_dst_bf16;
    for (int64_t begin = tiles.first; begin < tiles.second;) {
        const int64_t repeat = std::min(begin / whole, phase.repeats), first = begin - repeat * whole;
        const Tiling& tiling = repeat < phase.repeats ? phase.whole : phase.rest;
        const int64_t count = std::min({chunk_tiles_, tiling.count() - first, tiles.second - begin});
        const int64_t image = repeat * phase.whole.images;
        const PermutedArgs chunk{
            .tile = tiling.tiles.data() + first,
            .taps = phase.taps.data(),
            .live = tiling.live.data() + first * static_cast<int64_t>(phase.taps.size()),
            .tap_count = static_cast<int64_t>(phase.taps.size()),
            .src = src + image * in_.blocks * in_plane,
            .plane = in_plane,
            .entries = entries_.data(),
            .whole_blocks = problem().reduction() / width,
            .half_block = problem().reduction() % width != 0,
            .out = arguments.out + image * out_.blocks * out_plane,
            .out_plane = out_plane,
            .stream = stream_ && line_aligned(arguments.out),  // all tiles begin whole lines further on
        };
        for (int64_t index = units.first; index < units.second; ++index)
            run_unit(chunk, arguments, index, count);
        begin += count;
    }
}

// Threads share the tiles; where these are few, they share single units of them.
void Permuted::run(const Arguments& arguments) const {
    require_bytes(arguments.prepared, prepared_bytes(), "the prepared weights");
    if (arguments.epilogue.relu) fail("{}: the permuted kernel has no relu", to_string(problem()));
    parallel_team([&](int thread, int team) {
        for (const Phase& phase : phases_) {
            const int64_t tiles = phase.tiles(), parts = tiles >= 16 * team ? 1 : units();
            const auto [begin, end] = share(parts * tiles, thread, team);
            for (int64_t item = begin; item < end;) {
                const int64_t part = item / tiles, first = part * tiles, stop = std::min(end, first + tiles);
                run_part(arguments, phase, {item - first, stop - first},
                         share(units(), static_cast<int>(part), static_cast<int>(parts)));
                item = stop;
            }
        }
        if (stream_) finish_streaming();
    });
}

}  // namespace

std::string permuted_declines(const Problem& problem) {
    const Conv& conv = problem.conv;
    if (problem.stage == Stage::wg || problem.sparse() != Operand::weights)
        return "it multiplies N:M weights, in FF and BP only";
    if (conv.c / conv.groups % lanes != 0 || conv.k / conv.groups % lanes != 0)
        return fmt::format("channels{} are not whole blocks of {}", conv.groups > 1 ? " of a group" : "",
                           lanes);
    return {};
}

const PermutedLoops& permuted_loops([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512) return has_avx512_bf16() ? permuted_avx512_bf16 : permuted_avx512;
#endif
    return permuted_portable;
}

std::unique_ptr<Product> plan_permuted_on(const PermutedLoops& loops, const Problem& problem) {
    check(problem.conv);
    if (const std::string reason = permuted_declines(problem); !reason.empty())
        refuse("{}: the permuted product declines: {}", to_string(problem), reason);
    check_pattern(problem.pattern());
    return std::make_unique<Permuted>(problem, loops);
}

std::unique_ptr<Product> plan_permuted(const Problem& problem, const PlanOptions& options) {
    return plan_permuted_on(permuted_loops(options.isa), problem);
}

Kernel permuted_kernel() {
    return {.name = "permuted",
            .concerns =
                [](const Problem& p) {
                    // Rows of channels lie as their blocks do.
                    return (p.lanes == Lanes::channels || p.lanes == Lanes::rows) &&
                           p.numbers == bf16_numbers && p.sparse() == Operand::weights;
                },
            .declines =
                [](const Problem& p, const PlanOptions&) {
                    if (p.lanes == Lanes::channels && p.block != lanes)
                        return fmt::format("a block of {} channels is not one of {}", p.block, lanes);
                    if (p.plain_src) return std::string("src does not have its channels in the lanes");
                    return permuted_declines(p);
                },
            .plan =
                [](const Problem& p, const PlanOptions& options) {
                    std::unique_ptr<Product> product = plan_permuted(p, options);
                    say_dispatch(to_string(p), std::string(product->kernel()));
                    return product;
                },
            .properties = [](const Problem&, const PlanOptions&) { return Properties{.skips_zeros = true}; },
            .planned_as =
                [](const Problem&, const PlanOptions& options) {
                    return fmt::format("permuted bf16 {}", permuted_loops(options.isa).name);
                }};
}

}  // namespace enmesh::products
