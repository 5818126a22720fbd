#include <algorithm>
#include <bit>
#include <map>

#include "accel/sat/cost.hpp"
#include "accel/sat/product_pieces.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"

namespace enmesh::accel::sat {
namespace {

using detail::Axis;

constexpr double most_values = 1e9;  ///< of a product's operands and outputs, held at a time

/// One phase of a product under its mapping.
struct TiledPhase {
    std::string name;
    size_t product = 0;  ///< its place in the workload
    Piece piece;
    Mapping mapping;
    Axis m, n, k;  ///< cut into buffer tiles

    /// The product of a tile; `resume` if it goes on from the sums of the tile before it along k.
    EngineProduct tile(int64_t rows, int64_t cols, int64_t depth, bool resume) const {
        return {rows, cols, depth, piece.engine.pattern, resume};
    }
    /// Equal for phases whose tiles and values are the same.
    std::string key() const {
        const EngineProduct& p = piece.engine;
        const EngineMapping& e = mapping.engine;
        return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {}", p.m, p.n, p.k, p.pattern.n, p.pattern.m,
                           static_cast<int>(e.dataflow), e.interleave, e.interleave_pixels, e.group, m.tile,
                           n.tile, k.tile);
    }
};

/// Tiles of equal size that begin alike, and how often they occur in a phase.
struct TileKind {
    EngineProduct product;
    int64_t count = 0;
};

/// A part of an axis.
struct Range {
    int64_t begin = 0, size = 0;
};

std::vector<Range> ranges(const Axis& axis) {
    std::vector<Range> result;
    for (int64_t i = 0; i < axis.count; ++i)
        result.push_back({i * axis.tile, i + 1 < axis.count ? axis.tile : axis.last});
    return result;
}

/// The sizes along an axis and how often each occurs.
std::map<int64_t, int64_t> sizes_of(const Axis& axis) {
    std::map<int64_t, int64_t> sizes;
    sizes[axis.last] += 1;
    if (axis.count > 1) sizes[axis.tile] += axis.count - 1;
    return sizes;
}

std::vector<TileKind> kinds_of(const TiledPhase& phase) {
    std::vector<TileKind> kinds;
    const int64_t first = phase.k.count > 1 ? phase.k.tile : phase.k.last;
    for (const auto& [rows, row_count] : sizes_of(phase.m))
        for (const auto& [cols, col_count] : sizes_of(phase.n)) {
            const int64_t count = row_count * col_count;
            kinds.push_back({phase.tile(rows, cols, first, false), count});
            for (const auto& [depth, depth_count] : sizes_of(phase.k)) {
                const int64_t later = depth_count - (depth == first ? 1 : 0);
                if (later > 0) kinds.push_back({phase.tile(rows, cols, depth, true), count * later});
            }
        }
    return kinds;
}

/// Cuts as the cost model does: a streaming product is one tile.
void cut_phase(TiledPhase& phase) {
    const EngineProduct& whole = phase.piece.engine;
    const Mapping& mapping = phase.mapping;
    const bool one = mapping.streaming;
    phase.m = detail::cut(whole.m, one ? whole.m : mapping.tile_m);
    phase.n = detail::cut(whole.n, one ? whole.n : mapping.tile_n);
    phase.k = detail::cut(whole.k, one ? whole.k : mapping.tile_k);
}

std::vector<TiledPhase> chosen_phases(const Workload& workload, const Schedule& schedule,
                                      const ProductChoice& choice) {
    if (schedule.products.size() != workload.products.size())
        refuse("the schedule has another number of products than the workload");
    std::vector<TiledPhase> chosen;
    for (const size_t i : chosen_products(workload, choice)) {
        const Product& product = workload.products[i];
        const std::vector<Mapping>& mappings = schedule.products[i].mappings;
        detail::require_phases(product, mappings.size());
        detail::ProductPieces pieces(product);
        for (size_t p = 0; p < mappings.size(); ++p) {
            TiledPhase phase;
            phase.name = fmt::format("layer {} {}", product.layer, to_string(product.stage));
            phase.product = i;
            phase.piece = pieces.at(p, mappings[p].indexed);
            phase.mapping = mappings[p];
            cut_phase(phase);
            chosen.push_back(std::move(phase));
        }
    }
    return chosen;
}

template <typename Value>
std::vector<Value> draw(int64_t count, uint64_t seed, uint64_t stream) {
    const Random random(seed, stream);
    std::vector<Value> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) {
        const float value = 2 * Random::unit(random.at(i)) - 1;
        if constexpr (std::is_same_v<Value, Half>)
            values[i] = to_half(value);
        else
            values[i] = value;
    }
    return values;
}

IndexedOperand operand_of(const EngineProduct& product, const EngineMapping& mapping,
                          std::span<const Half> weights) {
    return product.dense() ? dense_operand(weights, product.n, product.k, mapping.group)
                           : packed_operand(weights, {}, product.n, product.k, product.pattern);
}

/// rows × cols of a matrix of `stride` columns.
std::vector<Half> part_of(std::span<const Half> matrix, int64_t stride, Range rows, Range cols) {
    std::vector<Half> part(static_cast<size_t>(rows.size * cols.size));
    for (int64_t i = 0; i < rows.size; ++i) {
        const auto from = matrix.begin() + (rows.begin + i) * stride + cols.begin;
        std::copy(from, from + cols.size, part.begin() + i * cols.size);
    }
    return part;
}

void compare_outputs(const std::string& name, std::span<const float> stepped,
                     std::span<const float> expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
        if (std::bit_cast<uint32_t>(stepped[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
        fail("{}: output {} is {} in the stepped model and {} in software", name, i, stepped[i], expected[i]);
    }
}

class ExactRunner {
  public:
    ExactRunner(const SatConfig& config, uint64_t seed, bool whole, std::function<void(double)> progress)
        : config_(config), seed_(seed), progress_(std::move(progress)) {
        sum_.whole = whole;
    }

    /// Cycles of one repeat, stepped, the tiles as often as they occur.
    int64_t run(const TiledPhase& phase) {
        const int64_t cycles = sum_.whole ? run_whole(phase) : run_kinds(phase);
        ++sum_.products;
        return cycles;
    }

    const ExactRun& sum() const { return sum_; }

  private:
    EngineRun step(const TiledPhase& phase, const EngineProduct& tile, std::span<const Half> streamed,
                   const IndexedOperand& indexed, std::span<const float> start) {
        const EngineMapping& mapping = phase.mapping.engine;
        EngineRun stepped = run_stepped(config_.stce, tile, mapping, streamed, indexed, start);
        const int64_t expected = closed_form(config_.stce, tile, mapping).cycles;
        if (stepped.cycles != expected)
            fail("{}: a tile of {} x {} x {} takes {} cycles in the stepped model, {} in the closed form",
                 phase.name, tile.m, tile.n, tile.k, stepped.cycles, expected);
        ++sum_.tiles;
        sum_.element_cycles += stepped.element_cycles;
        progress_(static_cast<double>(sum_.element_cycles));
        return stepped;
    }

    /// Every tile; those along k carry their sums on.
    int64_t run_whole(const TiledPhase& phase) {
        const EngineProduct& whole = phase.piece.engine;
        const std::vector<Half> streamed = draw<Half>(whole.m * whole.k, seed_, stream_++),
                                weights = draw<Half>(whole.n * whole.k, seed_, stream_++);
        std::vector<float> out(static_cast<size_t>(whole.m * whole.n));
        int64_t cycles = 0;
        for (const Range& cols : ranges(phase.n))
            for (const Range& rows : ranges(phase.m)) {
                std::vector<float> sums;
                for (const Range& depth : ranges(phase.k)) {
                    const EngineProduct tile = phase.tile(rows.size, cols.size, depth.size, !sums.empty());
                    const IndexedOperand indexed =
                        operand_of(tile, phase.mapping.engine, part_of(weights, whole.k, cols, depth));
                    EngineRun stepped =
                        step(phase, tile, part_of(streamed, whole.k, rows, depth), indexed, sums);
                    cycles += stepped.cycles;
                    sums = std::move(stepped.out);
                }
                for (int64_t i = 0; i < rows.size; ++i)
                    std::copy_n(sums.begin() + i * cols.size, cols.size,
                                out.begin() + (rows.begin + i) * whole.n + cols.begin);
            }
        std::vector<float> expected(out.size());
        software_product(streamed, operand_of(whole, phase.mapping.engine, weights), expected);
        compare_outputs(phase.name, out, expected);
        sum_.outputs += whole.m * whole.n;
        return cycles;
    }

    /// One tile of each kind; one that resumes begins at drawn sums.
    int64_t run_kinds(const TiledPhase& phase) {
        int64_t cycles = 0;
        for (const TileKind& kind : kinds_of(phase)) {
            const auto& [m, n, k, pattern, resume] = kind.product;
            const std::vector<Half> streamed = draw<Half>(m * k, seed_, stream_++);
            const IndexedOperand indexed =
                operand_of(kind.product, phase.mapping.engine, draw<Half>(n * k, seed_, stream_++));
            const std::vector<float> start = draw<float>(resume ? m * n : 0, seed_, stream_++);
            const EngineRun stepped = step(phase, kind.product, streamed, indexed, start);
            std::vector<float> expected(static_cast<size_t>(m * n));
            software_product(streamed, indexed, expected, start);
            compare_outputs(phase.name, stepped.out, expected);
            sum_.outputs += m * n;
            cycles += kind.count * stepped.cycles;
        }
        return cycles;
    }

    const SatConfig& config_;
    uint64_t seed_, stream_ = 0;
    std::function<void(double)> progress_;  ///< element-cycles done
    ExactRun sum_;
};

double values_of(const EngineProduct& p) {
    const double m = static_cast<double>(p.m), n = static_cast<double>(p.n), k = static_cast<double>(p.k);
    return (m + n) * k + m * n;
}

/// What stepping one tile of each kind (or all tiles) costs, and the most values held at a time.
struct Size {
    double element_cycles = 0, values = 0;
};

Size size_of(const SatConfig& config, const std::vector<const TiledPhase*>& phases, bool whole) {
    Size size;
    for (const TiledPhase* phase : phases) {
        for (const TileKind& kind : kinds_of(*phase)) {
            const int64_t cycles = closed_form(config.stce, kind.product, phase->mapping.engine).cycles;
            size.element_cycles += static_cast<double>(cycles) * static_cast<double>(config.elements()) *
                                   static_cast<double>(whole ? kind.count : 1);
            if (!whole) size.values = std::max(size.values, values_of(kind.product));
        }
        if (whole) size.values = std::max(size.values, values_of(phase->piece.engine));
    }
    return size;
}

/// All tiles if that is little enough, else one of each kind.
bool runs_whole(const SatConfig& config, const std::vector<const TiledPhase*>& phases, double most) {
    const Size whole = size_of(config, phases, true);
    if (whole.element_cycles <= most && whole.values <= most_values) return true;
    const Size kinds = size_of(config, phases, false);
    if (!(kinds.element_cycles <= most))
        refuse(
            "the run would step {:.3g} element-cycles, more than {:.3g}, even with one buffer tile of each "
            "kind; take a smaller batch or network, or one layer",
            kinds.element_cycles, most);
    if (!(kinds.values <= most_values))
        refuse("a buffer tile has {:.3g} values, too many to hold; take smaller tiles or a smaller batch",
               kinds.values);
    return false;
}

}  // namespace

ExactRun run_exact(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                   const Report& report, uint64_t seed, const ProductChoice& choice,
                   const std::function<void(double, double)>& progress, double most_element_cycles) {
    const std::vector<TiledPhase> chosen = chosen_phases(workload, schedule, choice);
    std::map<std::string, int64_t> cycles;  // of one repeat, by key
    std::vector<const TiledPhase*> distinct;
    for (const TiledPhase& phase : chosen)
        if (cycles.try_emplace(phase.key(), 0).second) distinct.push_back(&phase);
    const Timer timer;
    const bool whole = runs_whole(config, distinct, most_element_cycles);
    const double all = size_of(config, distinct, whole).element_cycles;
    ExactRunner runner(config, seed, whole, [&](double done) {
        if (progress) progress(done, all);
    });
    for (const TiledPhase* phase : distinct) cycles[phase->key()] = runner.run(*phase);

    std::map<size_t, int64_t> of_product;
    for (const TiledPhase& phase : chosen)
        of_product[phase.product] += phase.piece.repeat * cycles.at(phase.key());
    for (const auto& [i, stepped] : of_product) {
        const int64_t reported = report.products.at(i).whole("engine_cycles");
        if (stepped == reported) continue;
        const Product& product = workload.products[i];
        fail("layer {} {}: its buffer tiles take {} cycles in the stepped model, the report says {}",
             product.layer, to_string(product.stage), stepped, reported);
    }
    ExactRun sum = runner.sum();
    sum.host_seconds = timer.seconds();
    return sum;
}

std::string registers_at(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                         uint64_t seed, const ProductChoice& choice, int64_t cycle) {
    constexpr double most = 2e9;
    const TiledPhase phase = chosen_phases(workload, schedule, choice).front();
    const EngineMapping& m = phase.mapping.engine;
    const EngineProduct p = phase.tile(ranges(phase.m).front().size, ranges(phase.n).front().size,
                                       ranges(phase.k).front().size, false);
    const int64_t cycles = closed_form(config.stce, p, m).cycles;
    if (!(values_of(p) <= most_values))
        refuse("a buffer tile of {} has {:.3g} values, too many to hold; take a smaller batch", phase.name,
               values_of(p));
    if (cycle < 0 || cycle > cycles)
        refuse("cycle {}: the first buffer tile of {} is over in cycle {}", cycle, phase.name, cycles);
    if (!(static_cast<double>(cycle) * static_cast<double>(config.elements()) <= most)) {
        refuse(
            "cycle {}: the naive machine would step more than {:g} element-cycles; take an earlier "
            "cycle or a smaller array",
            cycle, most);
    }
    const std::vector<Half> streamed = draw<Half>(p.m * p.k, seed, 0);
    const IndexedOperand indexed = operand_of(p, m, draw<Half>(p.n * p.k, seed, 1));
    std::string text = fmt::format(
        "{}, first of {} buffer tiles: m {} n {} k {} {}, {} interleave {}{} group {}, {} cycles\n",
        phase.name, phase.m.count * phase.n.count * phase.k.count, p.m, p.n, p.k,
        p.dense() ? "dense" : to_string(p.pattern), to_string(m.dataflow), m.interleave,
        m.interleave_pixels ? " pixels" : "", m.group, cycles);
    return text + state_at(config.stce, p, m, streamed, indexed, cycle);
}

}  // namespace enmesh::accel::sat
