#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "accel/cost.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

using detail::ceil_div;

/// Tile sizes along one axis, largest first, without repeats.
using Sizes = std::vector<int64_t>;

void finish(Sizes& sizes, int64_t size) {
    std::sort(sizes.begin(), sizes.end(), std::greater<>());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    std::erase_if(sizes, [&](int64_t s) { return s < 1 || s > size; });
}

/// unit × ceil(count / p) for every p: the sizes of all balanced cuts of `count` units.
void add_balanced(Sizes& sizes, int64_t count, int64_t unit) {
    for (int64_t parts = 1;;) {
        const int64_t tile = ceil_div(count, parts);
        sizes.push_back(tile * unit);
        if (tile == 1) return;
        parts = ceil_div(count, tile - 1);
    }
}

Sizes plain_sizes(int64_t size, int64_t unit, int64_t grain) {
    Sizes sizes = {size};
    if (size > unit) add_balanced(sizes, ceil_div(size, unit), unit);
    for (int64_t small = unit / 2; small >= grain; small /= 2) sizes.push_back(small / grain * grain);
    finish(sizes, size);
    return sizes;
}

/// Output pixels: whole images, rows of one image, or parts of one row.
Sizes pixel_sizes(const Piece::Source& s, int64_t size) {
    Sizes sizes = {size};
    const int64_t image = s.out_rows * s.out_cols;
    add_balanced(sizes, ceil_div(size, image), image);
    add_balanced(sizes, s.out_rows, s.out_cols);
    for (int64_t part = s.out_cols / 2; part >= 1; part /= 2) sizes.push_back(part);
    finish(sizes, size);
    return sizes;
}

/// The (r, s, c) axis: whole kernel rows, positions of one row, or channels of one position.
Sizes tap_sizes(const Piece::Source& s, int64_t size, int64_t grain) {
    Sizes sizes = {size};
    add_balanced(sizes, s.taps_height, s.taps_width * s.channels);
    add_balanced(sizes, s.taps_width, s.channels);
    if (s.channels > grain) add_balanced(sizes, ceil_div(s.channels, grain), grain);
    for (int64_t small = grain / 2; small >= 1; small /= 2) sizes.push_back(small);
    finish(sizes, size);
    return sizes;
}

Sizes row_sizes(const Piece::Source& source, int64_t size, int64_t unit) {
    if (!source.im2col) return plain_sizes(size, unit, 1);
    return source.rows_are_pixels ? pixel_sizes(source, size) : tap_sizes(source, size, unit);
}

Sizes depth_sizes(const Piece& piece, int64_t array_rows, int64_t group) {
    const int64_t size = piece.engine.k;
    Sizes sizes;
    const Piece::Source& im2col = piece.streamed.im2col ? piece.streamed : piece.indexed;
    if (!im2col.im2col)
        sizes = plain_sizes(size, array_rows * group, group);
    else
        sizes = im2col.rows_are_pixels ? tap_sizes(im2col, size, group) : pixel_sizes(im2col, size);
    if (!piece.engine.dense()) {
        std::erase_if(sizes, [&](int64_t s) { return s != size && s % piece.engine.pattern.m != 0; });
    }
    return sizes;
}

/// One way to set the array up, with a bound that no tiling of it can beat.
struct Candidate {
    size_t role = 0;  ///< index into the roles of the search
    EngineMapping engine;
    Pack pack = Pack::none;
    int64_t bound = 0;
    int64_t compute = 0;                                             ///< engine cycles of one repeat, untiled
    double streamed_bytes = 0, indexed_bytes = 0, output_bytes = 0;  ///< each operand once across DRAM
};

struct Role {
    Operand indexed = Operand::b;
    Piece piece;
};

/// How far the buffers are from holding the nearest mapping.
struct Shortage {
    int64_t total = std::numeric_limits<int64_t>::max();
    BufferNeeds needs;

    void see(const SatConfig& config, const BufferNeeds& n) {
        const auto over = [](int64_t need, int64_t have) { return std::max<int64_t>(0, need - have); };
        const int64_t missing = over(n.input, config.input_buffer_bytes) +
                                over(n.weight, config.weight_buffer_bytes) +
                                over(n.output, config.output_buffer_bytes);
        if (missing >= total) return;
        total = missing;
        needs = n;
    }
};

class Search {
  public:
    Search(const SatConfig& config, std::vector<Role> roles) : config_(config), roles_(std::move(roles)) {}

    std::optional<Mapping> run() {
        collect();
        for (const Candidate& candidate : candidates_) {
            if (best_ && candidate.bound >= best_cycles_) break;
            if (candidate.engine.dataflow == Dataflow::os) try_streaming(candidate);
            try_tilings(candidate);
        }
        return best_;
    }

    const Shortage& shortage() const { return shortage_; }
    bool array_can() const { return !candidates_.empty(); }

  private:
    void collect() {
        for (size_t role = 0; role < roles_.size(); ++role) {
            for (const Dataflow flow : {Dataflow::ws, Dataflow::os}) {
                if (config_.dataflow != "auto" && config_.dataflow != to_string(flow)) continue;
                collect(role, flow);
            }
        }
        std::stable_sort(candidates_.begin(), candidates_.end(),
                         [](const Candidate& a, const Candidate& b) { return a.bound < b.bound; });
    }

    void collect(size_t role, Dataflow flow) {
        const Piece& piece = roles_[role].piece;
        const int groups = piece.engine.dense() ? config_.stce.max_group : 1;
        const int most = config_.interleaving ? config_.stce.max_interleave : 1;
        for (int group = groups; group >= 1; --group) {
            for (int interleave = 1; interleave <= most; ++interleave) {
                for (const bool pixels : {false, true}) {
                    if (pixels && interleave == 1) continue;
                    EngineMapping engine;
                    engine.dataflow = flow;
                    engine.group = group;
                    engine.interleave = interleave;
                    engine.interleave_pixels = pixels;
                    if (legal(config_.stce, piece.engine, engine)) collect(role, engine);
                }
            }
        }
    }

    void collect(size_t role, const EngineMapping& engine) {
        const Piece& piece = roles_[role].piece;
        const int64_t compute = closed_form(config_.stce, piece.engine, engine).cycles;
        std::vector<Pack> packs = {Pack::none};
        if (!piece.engine.dense()) {
            if (piece.indexed_is_parameter && config_.pregeneration)
                packs = {Pack::pregenerated};
            else
                packs = {Pack::on_load, Pack::ahead};
        }
        for (const Pack pack : packs) {
            Mapping mapping;
            mapping.pack = pack;
            Candidate candidate;
            candidate.role = role;
            candidate.engine = engine;
            candidate.pack = pack;
            set_bounds(candidate, piece, mapping, compute);
            candidates_.push_back(candidate);
        }
    }

    /// Every operand crosses DRAM at least once; the engine takes at least what it takes untiled.
    void set_bounds(Candidate& candidate, const Piece& piece, const Mapping& mapping, int64_t compute) const {
        const EngineProduct& e = piece.engine;
        candidate.streamed_bytes =
            static_cast<double>(piece.streamed.values(e.m, e.k)) * piece.streamed.bytes;
        candidate.indexed_bytes =
            detail::indexed_dram_bytes(piece, mapping, static_cast<double>(piece.indexed.values(e.n, e.k)));
        candidate.output_bytes = static_cast<double>(e.m) * static_cast<double>(e.n) * piece.bytes_per_output;
        const int64_t transfer =
            dram(candidate.streamed_bytes + candidate.indexed_bytes + candidate.output_bytes);
        const int64_t cycles = config_.double_buffering ? std::max(compute, transfer) : compute + transfer;
        candidate.compute = compute;
        candidate.bound = piece.repeat * cycles + detail::pack_ahead(config_, piece, mapping).packing;
    }

    int64_t dram(double bytes) const { return static_cast<int64_t>(bytes / config_.bytes_per_cycle()); }

    /// No order of loops beats this: where both m and n are cut, one of the operands is read again for every
    /// cut of the other.
    bool hopeless(const Candidate& candidate, const Piece& piece, const Mapping& mapping) const {
        if (!best_) return false;
        const double cuts_m = static_cast<double>(ceil_div(piece.engine.m, mapping.tile_m) - 1);
        const double cuts_n = static_cast<double>(ceil_div(piece.engine.n, mapping.tile_n) - 1);
        const double again = std::min(cuts_n * candidate.streamed_bytes, cuts_m * candidate.indexed_bytes);
        const double bytes =
            candidate.streamed_bytes + candidate.indexed_bytes + candidate.output_bytes + again;
        return piece.repeat * dram(bytes) >= best_cycles_;
    }

    /// Engine time that a tiling may take before its first loads and its last store make it too slow; below
    /// zero if nothing is left.
    int64_t engine_budget(const Piece& piece, const Mapping& mapping) const {
        if (!best_) return std::numeric_limits<int64_t>::max();
        const double first =
            static_cast<double>(piece.streamed.values(mapping.tile_m, mapping.tile_k)) *
                piece.streamed.bytes +
            detail::indexed_dram_bytes(
                piece, mapping, static_cast<double>(piece.indexed.values(mapping.tile_n, mapping.tile_k)));
        return (best_cycles_ - 1) / piece.repeat - dram(first);
    }

    Mapping start(const Candidate& candidate) const {
        Mapping mapping;
        mapping.engine = candidate.engine;
        mapping.indexed = roles_[candidate.role].indexed;
        mapping.pack = candidate.pack;
        return mapping;
    }

    bool fits(const BufferNeeds& needs) {
        if (needs.input <= config_.input_buffer_bytes && needs.weight <= config_.weight_buffer_bytes &&
            needs.output <= config_.output_buffer_bytes) {
            return true;
        }
        if (!best_) shortage_.see(config_, needs);
        return false;
    }

    void consider(const Piece& piece, const Mapping& mapping, const detail::EngineTable& table) {
        const int64_t cycles = piece.repeat * detail::timing(config_, piece, mapping, table).cycles() +
                               detail::pack_ahead(config_, piece, mapping).packing;
        if (best_ && cycles >= best_cycles_) return;
        best_ = mapping;
        best_cycles_ = cycles;
    }

    void try_streaming(const Candidate& candidate) {
        const Piece& piece = roles_[candidate.role].piece;
        Mapping mapping = start(candidate);
        mapping.streaming = true;
        mapping.tile_m = piece.engine.m;
        mapping.tile_n = piece.engine.n;
        const int64_t group = piece.engine.dense() ? candidate.engine.group : piece.engine.pattern.m;
        for (const int64_t groups : {16, 4, 1}) {
            mapping.tile_k = std::min(piece.engine.k, groups * group);
            if (!fits(buffer_needs(config_, piece, mapping))) continue;
            consider(piece, mapping, detail::engine_table(config_, piece, mapping));
            return;
        }
    }

    void try_tilings(const Candidate& candidate) {
        const Piece& piece = roles_[candidate.role].piece;
        Mapping mapping = start(candidate);
        const bool ws = candidate.engine.dataflow == Dataflow::ws;
        const int64_t group = piece.engine.dense() ? candidate.engine.group : piece.engine.pattern.m;
        EngineMapping engine = candidate.engine;
        const EngineTiling tiles = tiling(config_.stce, piece.engine, engine);
        const Sizes ms =
            row_sizes(piece.streamed, piece.engine.m, ws ? config_.stce.rows : tiles.rows_per_tile);
        const Sizes ns = row_sizes(piece.indexed, piece.engine.n, tiles.cols_per_tile);
        const Sizes ks = ws ? depth_sizes(piece, config_.stce.rows, group) : Sizes{piece.engine.k};
        for (const int64_t k : ks) {
            mapping.tile_k = k;
            for (const int64_t n : ns) {
                mapping.tile_n = n;
                mapping.tile_m = ms.back();
                if (!fits(buffer_needs(config_, piece, mapping)))
                    continue;  // the smallest m does not fit: no m does
                if (engine_budget(piece, mapping) < candidate.compute)
                    continue;  // nor is a larger first load faster
                for (const int64_t m : ms) {
                    mapping.tile_m = m;
                    if (hopeless(candidate, piece, mapping)) continue;
                    if (engine_budget(piece, mapping) < candidate.compute) continue;
                    if (fits(buffer_needs(config_, piece, mapping))) try_orders(piece, mapping);
                }
            }
        }
    }

    void try_orders(const Piece& piece, Mapping& mapping) {
        const int64_t budget = engine_budget(piece, mapping);
        const detail::EngineTable table = detail::engine_table(config_, piece, mapping, budget);
        if (table.total > budget) return;
        constexpr std::array<std::array<Loop, 3>, 6> orders = {{{Loop::n, Loop::m, Loop::k},
                                                                {Loop::m, Loop::n, Loop::k},
                                                                {Loop::n, Loop::k, Loop::m},
                                                                {Loop::m, Loop::k, Loop::n},
                                                                {Loop::k, Loop::n, Loop::m},
                                                                {Loop::k, Loop::m, Loop::n}}};
        std::array<int, 6> seen{};
        int count = 0;
        for (const auto& order : orders) {
            // Loops of one trip do not count: orders that differ only in them cost the same.
            int signature = 0;
            for (const Loop loop : order) {
                const int64_t trips = loop == Loop::m   ? table.m.count
                                      : loop == Loop::n ? table.n.count
                                                        : table.k.count;
                if (trips > 1) signature = signature * 4 + 1 + static_cast<int>(loop);
            }
            if (std::find(seen.begin(), seen.begin() + count, signature) != seen.begin() + count) continue;
            seen[static_cast<size_t>(count++)] = signature;
            mapping.order = order;
            consider(piece, mapping, table);
        }
    }

    const SatConfig& config_;
    std::vector<Role> roles_;
    std::vector<Candidate> candidates_;
    std::optional<Mapping> best_;
    int64_t best_cycles_ = 0;
    Shortage shortage_;
};

[[noreturn]] void refuse_product(const SatConfig& config, const Product& product, const Search& search) {
    const std::string name = fmt::format("layer {} {}", product.layer, to_string(product.stage));
    if (!search.array_can()) {
        EngineMapping plain;
        plain.interleave = 1;
        plain.group = 1;
        const Piece piece = pieces(product, product.is_sparse() ? product.sparse : Operand::b).front();
        refuse("{}: the array cannot run it: {}", name, why_illegal(config.stce, piece.engine, plain));
    }
    const BufferNeeds& needs = search.shortage().needs;
    std::string lacks;
    const auto see = [&](const char* buffer, int64_t need, int64_t have) {
        if (need > have)
            lacks += fmt::format("{}{} buffer of {} bytes needs at least {} ({} missing)",
                                 lacks.empty() ? "" : "; ", buffer, have, need, need - have);
    };
    see("input", needs.input, config.input_buffer_bytes);
    see("weight", needs.weight, config.weight_buffer_bytes);
    see("output", needs.output, config.output_buffer_bytes);
    refuse("{}: buffers are too small for any tiling: {}", name, lacks);
}

/// Everything that a product's schedule depends on.
std::string key_of(const Product& p) {
    std::string key = fmt::format("{} {} {} {} {} {} {} {} {} {} {} {}", static_cast<int>(p.stage), p.m, p.n,
                                  p.k, p.batch, static_cast<int>(p.sparse), p.pattern.n, p.pattern.m,
                                  p.b_is_parameter, p.bytes_per_a, p.bytes_per_b, p.bytes_per_output);
    if (p.conv) {
        const ConvGeometry& c = *p.conv;
        key += fmt::format(" c {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", c.images, c.in_channels,
                           c.in_height, c.in_width, c.out_channels, c.out_height, c.out_width,
                           c.kernel_height, c.kernel_width, c.stride_height, c.stride_width, c.pad_top,
                           c.pad_left, c.dilation_height, c.dilation_width);
    }
    return key;
}

}  // namespace

ProductSchedule find_mappings(const SatConfig& config, const Product& product) {
    std::vector<Operand> operands = {Operand::b, Operand::a};
    if (product.is_sparse()) operands = {product.sparse};
    std::vector<std::vector<Piece>> by_role;
    for (const Operand operand : operands) by_role.push_back(pieces(product, operand));
    ProductSchedule schedule;
    for (size_t phase = 0; phase < by_role.front().size(); ++phase) {
        std::vector<Role> roles;
        for (size_t role = 0; role < operands.size(); ++role)
            roles.push_back({operands[role], by_role[role][phase]});
        Search search(config, std::move(roles));
        const std::optional<Mapping> best = search.run();
        if (!best) refuse_product(config, product, search);
        schedule.mappings.push_back(*best);
    }
    return schedule;
}

Schedule find_schedule(const SatConfig& config, const Workload& workload) {
    check(workload);
    std::map<std::string, ProductSchedule> known;
    Schedule schedule;
    for (const Product& product : workload.products) {
        const auto [place, fresh] = known.try_emplace(key_of(product));
        if (fresh) place->second = find_mappings(config, product);
        schedule.products.push_back(place->second);
    }
    return schedule;
}

}  // namespace enmesh::accel
