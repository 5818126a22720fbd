#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "accel/sat/cost.hpp"
#include "accel/sat/stce/stce_form.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

/// Tile sizes along one axis, largest first, without repeats.
using Sizes = std::vector<int64_t>;

void finish(Sizes& sizes, int64_t size) {
    std::sort(sizes.begin(), sizes.end(), std::greater<>());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    std::erase_if(sizes, [&](int64_t s) { return s < 1 || s > size; });
}

/// Units of an axis of which every number is tried; of more, those that cut it into balanced parts.
constexpr int64_t few_units = 24;

/// unit × ceil(count / p) for every p: the sizes of all balanced cuts of `count` units; every size of few.
void add_balanced(Sizes& sizes, int64_t count, int64_t unit) {
    if (count <= few_units) {
        for (int64_t tile = 1; tile <= count; ++tile) sizes.push_back(tile * unit);
        return;
    }
    for (int64_t parts = 1;;) {
        const int64_t tile = ceil_div(count, parts);
        sizes.push_back(tile * unit);
        if (tile == 1) return;
        parts = ceil_div(count, tile - 1);
    }
}

/// Balanced cuts in grains and in units of the array's own tiles, and halves of such a unit.
Sizes plain_sizes(int64_t size, int64_t unit, int64_t grain) {
    Sizes sizes = {size};
    add_balanced(sizes, ceil_div(size, grain), grain);
    if (size > unit) add_balanced(sizes, ceil_div(size, unit), unit);
    for (int64_t small = unit / 2; small >= grain; small /= 2) sizes.push_back(small / grain * grain);
    finish(sizes, size);
    return sizes;
}

/// Output pixels: whole images, rows of an image, or parts of a row.
Sizes pixel_sizes(const Piece::Source& s, int64_t size) {
    Sizes sizes = {size};
    const int64_t image = s.out_rows * s.out_cols;
    add_balanced(sizes, ceil_div(size, image), image);
    add_balanced(sizes, s.out_rows, s.out_cols);
    add_balanced(sizes, s.out_cols, 1);
    finish(sizes, size);
    return sizes;
}

/// The (r, s, c) axis: whole kernel rows, positions of one row, channels of one position, or as an axis that
/// is no convolution's.
Sizes tap_sizes(const Piece::Source& s, int64_t size, int64_t unit, int64_t grain) {
    Sizes sizes = plain_sizes(size, unit, grain);
    add_balanced(sizes, s.taps_height, s.taps_width * s.channels);
    add_balanced(sizes, s.taps_width, s.channels);
    if (s.channels > unit) add_balanced(sizes, ceil_div(s.channels, unit), unit);
    add_balanced(sizes, s.channels, 1);
    finish(sizes, size);
    return sizes;
}

Sizes row_sizes(const Piece::Source& source, int64_t size, int64_t unit) {
    if (!source.im2col) return plain_sizes(size, unit, 1);
    return source.rows_are_pixels ? pixel_sizes(source, size) : tap_sizes(source, size, unit, 1);
}

Sizes depth_sizes(const Piece& piece, int64_t array_rows, int64_t group) {
    const int64_t size = piece.engine.k;
    Sizes sizes;
    const Piece::Source& im2col = piece.streamed.im2col ? piece.streamed : piece.indexed;
    if (!im2col.im2col)
        sizes = plain_sizes(size, array_rows * group, group);
    else
        sizes = im2col.rows_are_pixels ? tap_sizes(im2col, size, array_rows * group, group)
                                       : pixel_sizes(im2col, size);
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
    double once_bytes = 0;                                           ///< their sum
};

struct Role {
    Operand indexed = Operand::b;
    Piece piece;
    detail::TileValues streamed{piece.streamed};
    detail::IndexedSize sizes{piece};
};

/// What a tile size of one axis decides alone.
template <typename EngineCut>
struct Size {
    int64_t size = 0;
    double again = 0;   ///< times the other operand is read again because of this cut
    int64_t count = 1;  ///< tiles; all but the last are full
    EngineCut full, last;
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

/// The sizes that buffer tiles may have under one setting of the array.
struct Tilings {
    detail::EngineForm form;
    std::vector<Size<detail::RowCut>> ms;
    std::vector<Size<int64_t>> ns;
    std::vector<Size<detail::DepthCut>> ks;

    Tilings(const SatConfig& config, const Piece& piece, const EngineMapping& engine)
        : form(config.stce, piece.engine.pattern, engine) {
        const bool ws = engine.dataflow == Dataflow::ws;
        const int64_t group = piece.engine.dense() ? engine.group : piece.engine.pattern.m;
        const EngineTiling tiles = tiling(config.stce, piece.engine, engine);
        ms = cuts<detail::RowCut>(
            row_sizes(piece.streamed, piece.engine.m, ws ? config.stce.rows : tiles.rows_per_tile),
            piece.engine.m, [&](int64_t size) { return form.rows(size); });
        ns = cuts<int64_t>(row_sizes(piece.indexed, piece.engine.n, tiles.cols_per_tile), piece.engine.n,
                           [&](int64_t size) { return form.column_tiles(size); });
        ks = cuts<detail::DepthCut>(ws ? depth_sizes(piece, config.stce.rows, group) : Sizes{piece.engine.k},
                                    piece.engine.k, [&](int64_t size) { return form.depth(size); });
    }

  private:
    template <typename EngineCut>
    static std::vector<Size<EngineCut>> cuts(const Sizes& sizes, int64_t whole, const auto& engine_cut) {
        std::vector<Size<EngineCut>> result;
        result.reserve(sizes.size());
        for (const int64_t size : sizes) {
            const detail::Axis axis = detail::cut(whole, size);
            result.push_back({size, static_cast<double>(axis.count - 1), axis.count, engine_cut(axis.tile),
                              engine_cut(axis.last)});
        }
        return result;
    }
};

constexpr std::array<std::array<Loop, 3>, 6> orders = {{{Loop::n, Loop::m, Loop::k},
                                                        {Loop::m, Loop::n, Loop::k},
                                                        {Loop::n, Loop::k, Loop::m},
                                                        {Loop::m, Loop::k, Loop::n},
                                                        {Loop::k, Loop::n, Loop::m},
                                                        {Loop::k, Loop::m, Loop::n}}};

class Search {
  public:
    Search(const SatConfig& config, std::vector<Role> roles)
        : config_(config),
          roles_(std::move(roles)),
          bytes_per_cycle_(config.bytes_per_cycle()),
          halves_(config.double_buffering ? 2 : 1) {}

    std::optional<Mapping> run() {
        collect();
        for (const Candidate& candidate : candidates_) {
            if (best_ && candidate.bound >= best_cycles_) break;
            if (candidate.engine.dataflow == Dataflow::os) try_streaming(candidate);
            try_tilings(candidate);
        }
        return best_;
    }

    /// Everything that run() compares, in its order, with neither bounds nor buffers.
    std::vector<Mapping> all() {
        collect();
        std::vector<Mapping> mappings;
        for (const Candidate& candidate : candidates_) {
            if (candidate.engine.dataflow == Dataflow::os) {
                for (const Mapping& mapping : streams(candidate)) mappings.push_back(mapping);
            }
            const Tilings tilings(config_, roles_[candidate.role].piece, candidate.engine);
            Mapping mapping = start(candidate);
            for (const auto& k : tilings.ks)
                for (const auto& n : tilings.ns)
                    for (const auto& m : tilings.ms)
                        for (const auto& order : orders) {
                            mapping.tile_m = m.size, mapping.tile_n = n.size, mapping.tile_k = k.size;
                            mapping.order = order;
                            mappings.push_back(mapping);
                        }
        }
        return mappings;
    }

    const Piece& piece_of(const Mapping& mapping) const {
        for (const Role& role : roles_)
            if (role.indexed == mapping.indexed) return role.piece;
        ENMESH_ASSERT(!"a mapping of another search");
        return roles_.front().piece;
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
        const detail::TileValues& streamed = roles_[candidate.role].streamed;
        const detail::IndexedSize& indexed = roles_[candidate.role].sizes;
        candidate.streamed_bytes = static_cast<double>(streamed({e.m}, {e.k})) * piece.streamed.bytes;
        candidate.indexed_bytes = indexed.dram(mapping, indexed.stored({e.n}, {e.k}));
        candidate.output_bytes = static_cast<double>(e.m) * static_cast<double>(e.n) * piece.bytes_per_output;
        const int64_t transfer =
            dram(candidate.streamed_bytes + candidate.indexed_bytes + candidate.output_bytes);
        const int64_t cycles = config_.double_buffering ? std::max(compute, transfer) : compute + transfer;
        candidate.once_bytes = candidate.streamed_bytes + candidate.indexed_bytes + candidate.output_bytes;
        candidate.compute = compute;
        candidate.bound = piece.repeat * cycles + detail::pack_ahead(config_, piece, mapping).packing;
    }

    int64_t dram(double bytes) const { return static_cast<int64_t>(bytes / bytes_per_cycle_); }

    /// Engine time that a tiling may take before its first loads make it too slow; below zero if nothing is
    /// left.
    int64_t engine_budget(double first_loads) const { return engine_limit_ - dram(first_loads); }

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
        engine_limit_ = (cycles - 1) / piece.repeat;
    }

    /// Streaming in chunks of 1 to 16 groups.
    std::vector<Mapping> streams(const Candidate& candidate) const {
        const EngineProduct& product = roles_[candidate.role].piece.engine;
        const int64_t group = product.dense() ? candidate.engine.group : product.pattern.m;
        Mapping mapping = start(candidate);
        mapping.streaming = true;
        mapping.tile_m = product.m;
        mapping.tile_n = product.n;
        std::vector<Mapping> mappings;
        for (int64_t groups = std::min<int64_t>(16, ceil_div(product.k, group)); groups >= 1; --groups) {
            mapping.tile_k = std::min(product.k, groups * group);
            mappings.push_back(mapping);
        }
        return mappings;
    }

    void try_streaming(const Candidate& candidate) {
        const Piece& piece = roles_[candidate.role].piece;
        const std::vector<Mapping> mappings = streams(candidate);
        const detail::EngineTable table = detail::engine_table(config_, piece, mappings.front());
        for (const Mapping& mapping : mappings)
            if (fits(buffer_needs(config_, piece, mapping))) consider(piece, mapping, table);
    }

    /// Engine cycles of all tiles, or of enough of them to exceed `most`.
    static int64_t engine_total(const detail::EngineForm& form, const Size<detail::RowCut>& m,
                                const Size<int64_t>& n, const Size<detail::DepthCut>& k, int64_t most) {
        int64_t total = 0;
        for (int i = 0; i < 8 && total <= most; ++i) {
            const bool last_m = (i & 4) != 0, last_n = (i & 2) != 0, last_k = (i & 1) != 0;
            const int64_t times =
                (last_m ? 1 : m.count - 1) * (last_n ? 1 : n.count - 1) * (last_k ? 1 : k.count - 1);
            if (times == 0) continue;
            total += times * form.cycles(last_m ? m.last : m.full, last_n ? n.last : n.full,
                                         last_k ? k.last : k.full);
        }
        return total;
    }

    void try_tilings(const Candidate& candidate) {
        const Piece& piece = roles_[candidate.role].piece;
        const Tilings tilings(config_, piece, candidate.engine);
        const auto& form = tilings.form;
        const auto& ms = tilings.ms;
        const auto& ns = tilings.ns;
        const detail::TileValues& streamed_values = roles_[candidate.role].streamed;
        const detail::IndexedSize& indexed_size = roles_[candidate.role].sizes;
        Mapping mapping = start(candidate);
        std::vector<int64_t> streamed(ms.size()), first(ms.size());  // the largest tile, and the first one
        for (const auto& k : tilings.ks) {
            if (engine_total(form, ms.front(), ns.front(), k, engine_limit_) > engine_limit_) continue;
            mapping.tile_k = k.size;
            for (size_t i = 0; i < ms.size(); ++i) {
                first[i] = streamed_values({ms[i].size}, {k.size});
                streamed[i] = streamed_values.largest(piece.engine.m, ms[i].size, piece.engine.k, k.size);
            }
            size_t least = 0;  // the largest m whose streamed tile fits
            while (least + 1 < ms.size() &&
                   halves_ * streamed[least] * piece.streamed.bytes > config_.input_buffer_bytes)
                ++least;
            for (const auto& n : ns) {
                mapping.tile_n = n.size;
                const double indexed_load =
                    indexed_size.dram(mapping, indexed_size.stored({n.size}, {k.size}));
                const auto weight_need =
                    halves_ * static_cast<int64_t>(std::ceil(indexed_size.largest(n.size, k.size, false)));
                const auto needs = [&](size_t i) {
                    return BufferNeeds{halves_ * streamed[i] * piece.streamed.bytes, weight_need,
                                       halves_ * ms[i].size * n.size * 4};
                };
                const auto first_loads = [&](size_t i) {
                    return static_cast<double>(first[i]) * piece.streamed.bytes + indexed_load;
                };
                // If the smallest m does not fit, no m does; nor is a larger first load faster.
                if (!fits(needs(ms.size() - 1))) continue;
                const int64_t most = engine_budget(first_loads(ms.size() - 1));
                if (most < candidate.compute) continue;
                // No cut of m is faster in the engine than none.
                if (engine_total(form, ms.front(), n, k, most) > most) continue;
                const double read_again = n.again * candidate.streamed_bytes;
                const int64_t rows = config_.output_buffer_bytes / (halves_ * n.size * 4);
                const auto fitting =
                    std::partition_point(ms.begin() + static_cast<std::ptrdiff_t>(least), ms.end(),
                                         [&](const auto& m) { return m.size > rows; });
                for (size_t i = static_cast<size_t>(fitting - ms.begin()); i < ms.size(); ++i) {
                    // No order of loops beats this: where both m and n are cut, one of the operands is read
                    // again for every cut of the other.
                    const double again = std::min(read_again, ms[i].again * candidate.indexed_bytes);
                    if (dram(candidate.once_bytes + again) > engine_limit_) break;
                    const int64_t budget = engine_budget(first_loads(i));
                    if (budget < candidate.compute || !fits(needs(i))) continue;
                    if (engine_total(form, ms[i], n, k, budget) > budget) continue;
                    mapping.tile_m = ms[i].size;
                    try_orders(piece, mapping);
                }
            }
        }
    }

    void try_orders(const Piece& piece, Mapping& mapping) {
        const detail::EngineTable table = detail::engine_table(config_, piece, mapping);
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
    int64_t engine_limit_ = std::numeric_limits<int64_t>::max();  ///< cycles of one repeat that still win
    double bytes_per_cycle_;
    int64_t halves_;
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

std::vector<Operand> indexed_choices(const Product& product) {
    if (product.is_sparse()) return {product.sparse};
    return {Operand::b, Operand::a};
}

/// One search per phase.
std::vector<Search> searches(const SatConfig& config, const Product& product) {
    const std::vector<Operand> operands = indexed_choices(product);
    std::vector<std::vector<Piece>> by_role;
    for (const Operand operand : operands) by_role.push_back(pieces(product, operand));
    std::vector<Search> result;
    for (size_t phase = 0; phase < by_role.front().size(); ++phase) {
        std::vector<Role> roles;
        for (size_t role = 0; role < operands.size(); ++role)
            roles.push_back(Role{operands[role], by_role[role][phase]});
        result.emplace_back(config, std::move(roles));
    }
    return result;
}

}  // namespace

std::vector<std::vector<Mapping>> detail::all_mappings(const SatConfig& config, const Product& product) {
    std::vector<std::vector<Mapping>> result;
    for (Search& search : searches(config, product)) result.push_back(search.all());
    return result;
}

ProductSchedule find_mappings(const SatConfig& config, const Product& product) {
    ProductSchedule schedule;
    for (Search& search : searches(config, product)) {
        const std::optional<Mapping> best = search.run();
        if (!best) refuse_product(config, product, search);
        schedule.mappings.push_back(*best);
        schedule.costs.push_back({*best, cost(config, search.piece_of(*best), *best)});
    }
    schedule.key = detail::key_of(config, product);
    return schedule;
}

ProductSchedule ScheduleCache::find(const SatConfig& config, const Product& product) {
    const std::string key = detail::key_of(config, product);
    {
        const std::lock_guard lock(mutex_);
        if (const auto found = known_.find(key); found != known_.end()) return found->second;
    }
    const ProductSchedule fresh = find_mappings(config, product);
    const std::lock_guard lock(mutex_);
    return known_.try_emplace(key, fresh).first->second;
}

Schedule find_schedule(const SatConfig& config, const Workload& workload, ScheduleCache& cache) {
    check(workload);
    Schedule schedule;
    for (const Product& product : workload.products) schedule.products.push_back(cache.find(config, product));
    return schedule;
}

Schedule find_schedule(const SatConfig& config, const Workload& workload) {
    ScheduleCache cache;
    return find_schedule(config, workload, cache);
}

}  // namespace enmesh::accel::sat
