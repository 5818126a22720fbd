#include "accel/sat/cost.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace detail {
namespace {

/// Indices of one loop that behave alike: how many, of which size, at the start or the end of their axis.
struct Run {
    int64_t count = 0;
    int64_t size = 0;
    bool is_first = false, is_last = false;
    bool shorter = false;

    Span span() const { return {size, shorter}; }
};

enum class Range { all, without_first, first_only };

/// The runs of an axis within a range of its indices; at most three.
struct Runs {
    std::array<Run, 3> run;
    int length = 0;

    Runs(const Axis& axis, Range range) {
        const bool one = axis.count == 1;
        if (range != Range::without_first) add({1, one ? axis.last : axis.tile, true, one, false});
        if (range == Range::first_only || one) return;
        add({axis.count - 2, axis.tile, false, false, false});
        add({1, axis.last, false, true, axis.last < axis.tile});
    }
    void add(const Run& r) {
        if (r.count > 0) run[static_cast<size_t>(length++)] = r;
    }
};

/// What a buffer tile moves and computes.
struct Tile {
    int64_t engine = 0;
    double streamed = 0, indexed = 0, partial_in = 0, store = 0;  // bytes
    int64_t packed_values = 0;                                    // through SORE
};

/// SORE's time by the values that enter it, a line's tail included (run_sore_lines).
int64_t pack_cycles(const SatConfig& config, const Piece& piece, int64_t values) {
    return piece.engine.dense() ? 0 : sore_cycles(config.sore, ceil_div(values, piece.engine.pattern.m));
}

class Walk {
  public:
    Walk(const SatConfig& config, const Piece& piece, const Mapping& mapping, const EngineTable& table)
        : config_(config),
          piece_(piece),
          mapping_(mapping),
          table_(table),
          indexed_(piece),
          bytes_per_cycle_(config.bytes_per_cycle()) {
        axes_ = {table.m, table.n, table.k};
        for (size_t p = 0; p < 3; ++p) position_[static_cast<size_t>(mapping.order[p])] = p;
        const size_t k = position_[2];
        spilled_ = table.k.count > 1 &&
                   ((position_[0] > k && table.m.count > 1) || (position_[1] > k && table.n.count > 1));
    }

    Timing run() {
        exposed_first();
        for (size_t level = 0; level < 3; ++level) add_level(level);
        sum_.engine = table_.total;
        return sum_;
    }

  private:
    const Axis& at(size_t position) const { return axes_[static_cast<size_t>(mapping_.order[position])]; }

    /// Tiles reached by advancing the loop at `level` (the very first tile is not among them).
    void add_level(size_t level) {
        std::array<Range, 3> range;
        for (size_t p = 0; p < 3; ++p)
            range[p] = p < level ? Range::all : p == level ? Range::without_first : Range::first_only;
        const Runs r0(at(0), range[0]), r1(at(1), range[1]), r2(at(2), range[2]);
        for (int a = 0; a < r0.length; ++a)
            for (int b = 0; b < r1.length; ++b)
                for (int c = 0; c < r2.length; ++c) {
                    const std::array<Run, 3> runs = {r0.run[static_cast<size_t>(a)],
                                                     r1.run[static_cast<size_t>(b)],
                                                     r2.run[static_cast<size_t>(c)]};
                    add_slots(runs, tile(runs, level), runs[0].count * runs[1].count * runs[2].count);
                }
    }

    /// True if an operand that depends on loops x and y changed when the loop at `level` advanced and the
    /// inner ones started again.
    bool changed(Loop x, Loop y, size_t level) const {
        for (const Loop loop : {x, y}) {
            const size_t p = position_[static_cast<size_t>(loop)];
            if (p == level || (p > level && at(p).count > 1)) return true;
        }
        return false;
    }

    /// level 0..2, or `first` for the very first tile, which loads everything.
    Tile tile(const std::array<Run, 3>& runs, size_t level, bool first = false) const {
        const Run& m = runs[position_[0]];
        const Run& n = runs[position_[1]];
        const Run& k = runs[position_[2]];
        Tile t;
        t.engine = table_.tile[static_cast<size_t>(4 * m.is_last + 2 * n.is_last + k.is_last)].cycles;
        if (first || changed(Loop::m, Loop::k, level)) {
            t.streamed =
                static_cast<double>(piece_.streamed.values(m.span(), k.span())) * piece_.streamed.bytes;
        }
        if (first || changed(Loop::n, Loop::k, level)) {
            const IndexedPart part = indexed_.stored(n.span(), k.span());
            t.indexed = indexed_.dram(mapping_, part);
            if (mapping_.pack == Pack::on_load) t.packed_values = part.values;
        }
        const double outputs = static_cast<double>(m.size) * static_cast<double>(n.size);
        if (spilled_ && !k.is_first) t.partial_in = 4 * outputs;
        if (k.is_last)
            t.store = piece_.bytes_per_output * outputs;
        else if (spilled_)
            t.store = 4 * outputs;
        return t;
    }

    int64_t dram(double bytes) const { return static_cast<int64_t>(std::ceil(bytes / bytes_per_cycle_)); }

    void count_traffic(const Tile& t, int64_t times) {
        const double count = static_cast<double>(times);
        sum_.read_bytes += count * (t.streamed + t.indexed + t.partial_in);
        sum_.write_bytes += count * t.store;
        sum_.packed_values += count * static_cast<double>(t.packed_values);
    }

    void add_slots(const std::array<Run, 3>& runs, const Tile& t, int64_t times) {
        count_traffic(t, times);
        const bool ends = runs[0].is_last && runs[1].is_last && runs[2].is_last;
        slot(t.engine, t.streamed + t.indexed + t.partial_in, ends ? 0 : t.store, t.packed_values, times);
        if (ends) sum_.bandwidth += dram(t.store);
    }

    void slot(int64_t engine, double load, double store, int64_t packed_values, int64_t times) {
        const int64_t reduce = pack_cycles(config_, piece_, packed_values);
        if (config_.double_buffering) {
            const int64_t transfer = dram(load + store), fed = std::max(engine, transfer);
            sum_.bandwidth += times * (fed - engine);
            sum_.packing += times * (std::max(fed, reduce) - fed);
        } else {
            const int64_t in = dram(load);
            sum_.bandwidth += times * (in + dram(store));
            sum_.packing += times * (std::max(in, reduce) - in);
        }
    }

    /// The first tile: its loads come before any computation; its store (if the loops go on) overlaps.
    void exposed_first() {
        const std::array<Run, 3> runs = {Runs(at(0), Range::first_only).run[0],
                                         Runs(at(1), Range::first_only).run[0],
                                         Runs(at(2), Range::first_only).run[0]};
        const Tile t = tile(runs, 0, true);
        count_traffic(t, 1);
        const int64_t load = dram(t.streamed + t.indexed),
                      reduce = pack_cycles(config_, piece_, t.packed_values);
        sum_.bandwidth += load;
        sum_.packing += std::max(load, reduce) - load;
        const bool ends = runs[0].is_last && runs[1].is_last && runs[2].is_last;
        slot(t.engine, 0, ends ? 0 : t.store, 0, 1);
        if (ends) sum_.bandwidth += dram(t.store);
    }

    const SatConfig& config_;
    const Piece& piece_;
    const Mapping& mapping_;
    const EngineTable& table_;
    const IndexedSize indexed_;
    const double bytes_per_cycle_;
    std::array<Axis, 3> axes_;
    std::array<size_t, 3> position_{};
    bool spilled_ = false;
    Timing sum_;
};

/// Output-stationary with operands passing through: the engine runs the piece as one; every array tile reads
/// its two panels from DRAM.
Timing streaming(const SatConfig& config, const Piece& piece, const Mapping& mapping,
                 const EngineTable& table) {
    const EngineTiling tiles = tiling(config.stce, piece.engine, mapping.engine);
    const double depth = static_cast<double>(piece.engine.k);
    const double rows = static_cast<double>(piece.engine.m), cols = static_cast<double>(piece.engine.n);
    const IndexedSize indexed(piece);
    const IndexedPart panel = indexed.panel(piece.engine.n, piece.engine.k);
    Timing sum;
    sum.engine = table.total;
    sum.read_bytes = rows * depth * piece.streamed.bytes * static_cast<double>(tiles.col_tiles) +
                     indexed.dram(mapping, panel) * static_cast<double>(tiles.row_tiles);
    sum.write_bytes = rows * cols * piece.bytes_per_output;
    if (mapping.pack == Pack::on_load)
        sum.packed_values = static_cast<double>(panel.values) * static_cast<double>(tiles.row_tiles);
    const int64_t chunk = std::min(mapping.tile_k, piece.engine.k);
    const double first_rows = static_cast<double>(std::min(tiles.rows_per_tile, piece.engine.m));
    const int64_t first_cols = std::min(tiles.cols_per_tile, piece.engine.n);
    const auto dram = [&](double bytes) {
        return static_cast<int64_t>(std::ceil(bytes / config.bytes_per_cycle()));
    };
    const double first = first_rows * static_cast<double>(chunk) * piece.streamed.bytes +
                         indexed.dram(mapping, indexed.panel(first_cols, chunk));
    const double last = first_rows * static_cast<double>(first_cols) * piece.bytes_per_output;
    const int64_t reduce =
        mapping.pack == Pack::on_load ? pack_cycles(config, piece, panel.values * tiles.row_tiles) : 0;
    if (config.double_buffering) {
        const int64_t transfer = dram(sum.read_bytes + sum.write_bytes - first - last);
        const int64_t fed = std::max(sum.engine, transfer);
        sum.bandwidth = fed - sum.engine;
        sum.packing = std::max(fed, reduce) - fed;
    } else {
        const int64_t in = dram(sum.read_bytes - first);
        sum.bandwidth = in + dram(sum.write_bytes - last);
        sum.packing = std::max(in, reduce) - in;
    }
    sum.bandwidth += dram(first) + dram(last);
    return sum;
}

}  // namespace

IndexedSize::IndexedSize(const Piece& piece)
    : values_(piece.indexed),
      pattern_(piece.engine.pattern),
      dense_(piece.engine.dense()),
      rows_(piece.engine.n),
      depth_(piece.engine.k),
      bytes_(piece.indexed.bytes),
      group_bytes_(dense_ ? 0 : pattern_.n * (bytes_ + pattern_.index_bits() / 8.0)) {}

IndexedPart IndexedSize::stored(Span rows, Span depth) const {
    const int64_t values = values_(rows, depth);
    return {values, dense_ ? 0 : stored_groups(pattern_, values, depth.size)};
}

IndexedPart IndexedSize::panel(int64_t rows, int64_t depth) const {
    return {rows * depth, dense_ ? 0 : rows * packed_groups(pattern_, depth)};
}

double IndexedSize::largest(int64_t rows, int64_t depth, bool streaming) const {
    double most = 0;
    for (const Span& k : spans(depth_, depth)) {
        if (streaming) {
            most = std::max(most, buffer(panel(rows, k.size)));
            continue;
        }
        for (const Span& n : spans(rows_, rows)) most = std::max(most, buffer(stored(n, k)));
    }
    return most;
}

size_t TileValues::Hash::operator()(const std::array<Span, 2>& key) const {
    const auto bits = [](const Span& s) { return 2 * static_cast<uint64_t>(s.size) + (s.shorter ? 1 : 0); };
    constexpr uint64_t odd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio: spreads low bits
    return static_cast<size_t>(((bits(key[0]) * odd) ^ bits(key[1])) * odd >> 20);
}

int64_t TileValues::operator()(Span rows, Span depth) const {
    if (!source_.im2col) return rows.size * depth.size;
    const auto [at, is_new] = known_.try_emplace({rows, depth});
    if (is_new) at->second = source_.values(rows, depth);
    return at->second;
}

int64_t TileValues::largest(int64_t all_rows, int64_t rows, int64_t all_depth, int64_t depth) const {
    if (!source_.im2col) return rows * depth;
    int64_t most = 0;
    for (const Span& r : spans(all_rows, rows))
        for (const Span& d : spans(all_depth, depth)) most = std::max(most, (*this)(r, d));
    return most;
}

int64_t stored_groups(Pattern pattern, int64_t values, int64_t depth) {
    const int64_t groups = packed_groups(pattern, depth), whole = values / depth;
    return whole * groups +
           static_cast<int64_t>(std::ceil(static_cast<double>(values - whole * depth) *
                                          static_cast<double>(groups) / static_cast<double>(depth)));
}

UpToTwo<Span> spans(int64_t size, int64_t tile) {
    const Axis axis = cut(size, tile);
    if (axis.last == axis.tile) return UpToTwo<Span>({axis.tile, false});
    return {{axis.tile, false}, {axis.last, true}};
}

Axis cut(int64_t size, int64_t tile) {
    Axis axis;
    axis.tile = std::min(tile, size);
    axis.count = ceil_div(size, axis.tile);
    axis.last = size - (axis.count - 1) * axis.tile;
    return axis;
}

int64_t EngineTable::times(size_t i) const {
    return ((i & 4) != 0 ? 1 : m.count - 1) * ((i & 2) != 0 ? 1 : n.count - 1) *
           ((i & 1) != 0 ? 1 : k.count - 1);
}

EngineProduct EngineTable::part(const Piece& piece, size_t i) const {
    return {(i & 4) != 0 ? m.last : m.tile, (i & 2) != 0 ? n.last : n.tile, (i & 1) != 0 ? k.last : k.tile,
            piece.engine.pattern};
}

EngineTable engine_table(const SatConfig& config, const Piece& piece, const Mapping& mapping) {
    EngineTable table;
    if (mapping.streaming) {
        table.m = table.n = table.k = Axis{};
        table.tile[7] = closed_form(config.stce, piece.engine, mapping.engine);
        table.total = table.tile[7].cycles;
        return table;
    }
    table.m = cut(piece.engine.m, mapping.tile_m);
    table.n = cut(piece.engine.n, mapping.tile_n);
    table.k = cut(piece.engine.k, mapping.tile_k);
    for (size_t i = 0; i < 8; ++i) {
        if (table.times(i) == 0) continue;
        table.tile[i] = closed_form(config.stce, table.part(piece, i), mapping.engine);
        table.total += table.times(i) * table.tile[i].cycles;
    }
    return table;
}

Timing timing(const SatConfig& config, const Piece& piece, const Mapping& mapping, const EngineTable& table) {
    if (mapping.streaming) return streaming(config, piece, mapping, table);
    return Walk(config, piece, mapping, table).run();
}

Timing pack_ahead(const SatConfig& config, const Piece& piece, const Mapping& mapping) {
    Timing sum;
    if (mapping.pack != Pack::ahead || piece.values_to_pack == 0) return sum;
    sum.packed_values = static_cast<double>(piece.values_to_pack);
    sum.read_bytes = sum.packed_values * piece.indexed.bytes;
    sum.write_bytes = IndexedSize(piece).buffer({piece.values_to_pack, piece.groups_to_pack});
    const int64_t transfer =
        static_cast<int64_t>(std::ceil((sum.read_bytes + sum.write_bytes) / config.bytes_per_cycle()));
    sum.packing = std::max(transfer, pack_cycles(config, piece, piece.values_to_pack));
    return sum;
}

}  // namespace detail

namespace {

Piece::Source im2col_source(const Product& product, const Phase& phase) {
    const ConvGeometry& c = *product.conv;
    const bool bp = product.stage == Stage::BP;
    Piece::Source s;
    s.im2col = true;
    s.rows_are_pixels = product.stage != Stage::WG;
    s.images = c.images;
    s.out_rows = bp ? phase.out_rows : c.out_height;
    s.out_cols = bp ? phase.out_cols : c.out_width;
    s.in_rows = bp ? c.out_height : c.in_height;
    s.in_cols = bp ? c.out_width : c.in_width;
    s.taps_height = bp ? phase.taps_height : c.kernel_height;
    s.taps_width = bp ? phase.taps_width : c.kernel_width;
    s.channels = bp ? c.out_channels : c.in_channels;
    s.stride_height = bp ? 1 : c.stride_height;
    s.stride_width = bp ? 1 : c.stride_width;
    // Of a phase's taps, neighbours read out-grads this far apart.
    s.dilation_height = c.dilation_height / (bp ? std::gcd(c.dilation_height, c.stride_height) : 1);
    s.dilation_width = c.dilation_width / (bp ? std::gcd(c.dilation_width, c.stride_width) : 1);
    return s;
}

void add_times(EngineCycles& sum, const EngineCycles& one, int64_t times) {
    sum.cycles += times * one.cycles;
    sum.useful += times * one.useful;
    sum.tail += times * one.tail;
    sum.adder += times * one.adder;
    sum.link += times * one.link;
    sum.fill_drain += times * one.fill_drain;
    sum.load += times * one.load;
}

/// Movement inside the chip in one repeat, from the array's own tiling of every buffer tile: each column tile
/// streams all rows of the buffer tile, each row tile sends or loads all its groups, each pass writes all its
/// sums and, unless its chains begin at +0, reads them.
Activity inside(const SatConfig& config, const Piece& piece, const Mapping& mapping,
                const detail::EngineTable& table) {
    const detail::IndexedSize size(piece);
    double streamed = 0, indexed = 0, sums = 0;
    for (size_t i = 0; i < 8; ++i) {
        const double times = static_cast<double>(table.times(i));
        if (times == 0) continue;
        const EngineProduct part = mapping.streaming ? piece.engine : table.part(piece, i);
        const EngineTiling t = tiling(config.stce, part, mapping.engine);
        const double m = static_cast<double>(part.m), n = static_cast<double>(part.n),
                     k = static_cast<double>(part.k);
        streamed += times * m * k * piece.streamed.bytes * static_cast<double>(t.col_tiles);
        indexed += times * size.buffer(size.panel(part.n, part.k)) * static_cast<double>(t.row_tiles);
        sums += times * 4 * m * n * static_cast<double>(t.reduction_passes);
    }
    const double fresh = 4.0 * static_cast<double>(piece.engine.m) * static_cast<double>(piece.engine.n);
    const bool ws = mapping.engine.dataflow == Dataflow::ws;
    Activity a;
    a.link_bytes =
        streamed * config.stce.cols + sums * config.stce.rows + indexed * config.stce.rows * (ws ? 0.5 : 1.0);
    a.buffer_read_bytes = streamed + indexed + sums - fresh;
    a.buffer_write_bytes = sums;
    return a;
}

}  // namespace

std::string_view to_string(Pack pack) {
    constexpr std::array<std::string_view, 4> names = {"none", "pregenerated", "on_load", "ahead"};
    return names[static_cast<size_t>(pack)];
}

namespace {

/// Values of the whole indexed operand; a convolution's as the map that is stored.
int64_t values_of_all(const Product& product, const Piece& piece, bool a_indexed) {
    const Piece::Source& s = piece.indexed;
    if (s.im2col) return s.images * s.in_rows * s.in_cols * s.channels;
    return (a_indexed ? product.m : product.n) * product.k;
}

/// Packed groups of the whole indexed operand: a matrix's rows are packed phase by phase, as each meets its
/// own part of k; a convolution's stored operand once.
int64_t groups_of_all(const Product& product, const Piece& piece, bool a_indexed) {
    if (piece.indexed.im2col)
        return detail::stored_groups(product.pattern, values_of_all(product, piece, a_indexed), product.k);
    if (a_indexed) return product.m * packed_groups(product.pattern, product.k);
    int64_t groups = 0;
    for (const Phase& phase : phases(product))
        groups += phase.count * product.n * packed_groups(product.pattern, phase.k());
    return groups;
}

}  // namespace

std::vector<Piece> pieces(const Product& product, Operand indexed) {
    const bool a_indexed = indexed == Operand::a;
    std::vector<Piece> result;
    for (const Phase& phase : phases(product)) {
        Piece piece;
        piece.engine = {a_indexed ? product.n : phase.rows, a_indexed ? phase.rows : product.n, phase.k(),
                        product.is_sparse() ? product.pattern : Pattern{}};
        piece.repeat = phase.count * product.batch;
        Piece::Source a, b;
        if (product.conv) (product.stage == Stage::WG ? b : a) = im2col_source(product, phase);
        a.bytes = product.bytes_per_a;
        b.bytes = product.bytes_per_b;
        piece.streamed = a_indexed ? b : a;
        piece.indexed = a_indexed ? a : b;
        piece.indexed_is_parameter = !a_indexed && product.b_is_parameter;
        piece.bytes_per_output = product.bytes_per_output;
        // A packed operand serves all phases of its product: the first one carries the pass that packs it
        // ahead.
        if (product.is_sparse() && result.empty()) {
            piece.values_to_pack = product.batch * values_of_all(product, piece, a_indexed);
            piece.groups_to_pack = product.batch * groups_of_all(product, piece, a_indexed);
        }
        result.push_back(piece);
    }
    return result;
}

BufferNeeds buffer_needs(const SatConfig& config, const Piece& piece, const Mapping& mapping) {
    const int64_t halves = config.double_buffering ? 2 : 1;
    int64_t rows = mapping.tile_m, cols = mapping.tile_n;
    int64_t streamed = 0;
    if (mapping.streaming) {
        const EngineTiling t = tiling(config.stce, piece.engine, mapping.engine);
        rows = std::min(t.rows_per_tile, piece.engine.m);
        cols = std::min(t.cols_per_tile, piece.engine.n);
        streamed = rows * mapping.tile_k;
    } else {
        streamed =
            detail::TileValues(piece.streamed).largest(piece.engine.m, rows, piece.engine.k, mapping.tile_k);
    }
    const double indexed = detail::IndexedSize(piece).largest(cols, mapping.tile_k, mapping.streaming);
    return {halves * streamed * piece.streamed.bytes, halves * static_cast<int64_t>(std::ceil(indexed)),
            halves * rows * cols * 4};
}

std::string why_illegal(const SatConfig& config, const Piece& piece, const Mapping& mapping) {
    if (std::string why = why_illegal(config.stce, piece.engine, mapping.engine); !why.empty()) return why;
    if (mapping.engine.tile_m != 0) return "the array's own row tile is set; buffer tiles set it here";
    if (mapping.engine.interleave > 1 && !config.interleaving)
        return "it interleaves, and features.interleaving is off";
    const std::string flow = to_string(mapping.engine.dataflow);
    if (config.dataflow != "auto" && config.dataflow != flow)
        return fmt::format("it is {}, and features.dataflow is {}", flow, config.dataflow);
    const std::array<std::pair<int64_t, int64_t>, 3> tiles = {{{mapping.tile_m, piece.engine.m},
                                                               {mapping.tile_n, piece.engine.n},
                                                               {mapping.tile_k, piece.engine.k}}};
    for (size_t i = 0; i < 3; ++i) {
        const auto [tile, size] = tiles[i];
        if (tile < 1 || tile > size)
            return fmt::format("its tile of {} along {} is not between 1 and {}", tile, "mnk"[i], size);
    }
    const bool whole_k = mapping.tile_k == piece.engine.k;
    if (!piece.engine.dense() && !whole_k && mapping.tile_k % piece.engine.pattern.m != 0) {
        return fmt::format("its tile of {} along k cuts groups of {}", mapping.tile_k,
                           piece.engine.pattern.m);
    }
    for (const bool streams : {true, false}) {
        const Piece::Source& source = streams ? piece.streamed : piece.indexed;
        const size_t axis = !source.rows_are_pixels ? 2 : streams ? 0 : 1;
        if (!source.im2col || mapping.streaming || source.cuts_pixels(tiles[axis].first)) continue;
        return fmt::format(
            "its tile of {} along {} cuts {} x {} output pixels otherwise than into images, rows or parts of "
            "a row",
            tiles[axis].first, "mnk"[axis], source.out_rows, source.out_cols);
    }
    if (mapping.streaming && mapping.engine.dataflow != Dataflow::os)
        return "only output-stationary products stream";
    if (mapping.streaming && !whole_k && piece.engine.dense() && mapping.tile_k % mapping.engine.group != 0)
        return fmt::format("its chunk of {} along k cuts groups of {}", mapping.tile_k, mapping.engine.group);
    if (mapping.engine.dataflow == Dataflow::os && !mapping.streaming && !whole_k)
        return "output-stationary tiles hold all of k";
    if (piece.engine.dense() != (mapping.pack == Pack::none))
        return "packing goes with N:M products and with them only";
    const bool pregenerates = piece.indexed_is_parameter && config.pregeneration;
    if (mapping.pack == Pack::pregenerated && !pregenerates) {
        return piece.indexed_is_parameter
                   ? "it expects pregenerated weights, and features.pregeneration is off"
                   : "it expects an operand that the weight update pregenerates, and this one is packed when "
                     "it is needed (a gradient, or a step with --on-demand)";
    }
    if (mapping.pack != Pack::pregenerated && mapping.pack != Pack::none && pregenerates)
        return "it packs weights when they are needed (as --on-demand, or features.pregeneration off, has "
               "it), and this step's weight update pregenerates them";
    const BufferNeeds needs = buffer_needs(config, piece, mapping);
    const auto lacks = [](const char* name, int64_t need, int64_t have) {
        return fmt::format("its tile needs {} bytes of {} buffer, which has {} ({} missing)", need, name,
                           have, need - have);
    };
    if (needs.input > config.input_buffer_bytes)
        return lacks("input", needs.input, config.input_buffer_bytes);
    if (needs.weight > config.weight_buffer_bytes)
        return lacks("weight", needs.weight, config.weight_buffer_bytes);
    if (needs.output > config.output_buffer_bytes)
        return lacks("output", needs.output, config.output_buffer_bytes);
    return {};
}

PieceCost& PieceCost::operator+=(const PieceCost& other) {
    cycles += other.cycles;
    engine_cycles += other.engine_cycles;
    bandwidth_cycles += other.bandwidth_cycles;
    packing_cycles += other.packing_cycles;
    add_times(engine, other.engine, 1);
    activity += other.activity;
    tiles += other.tiles;
    return *this;
}

PieceCost cost(const SatConfig& config, const Piece& piece, const Mapping& mapping) {
    const detail::EngineTable table = detail::engine_table(config, piece, mapping);
    const detail::Timing one = detail::timing(config, piece, mapping, table);
    const detail::Timing ahead = detail::pack_ahead(config, piece, mapping);
    PieceCost result;
    for (size_t i = 0; i < 8; ++i)
        if (table.times(i) > 0) add_times(result.engine, table.tile[i], table.times(i) * piece.repeat);
    const double repeat = static_cast<double>(piece.repeat);
    result.activity = inside(config, piece, mapping, table);
    result.activity.multiply_adds = static_cast<double>(result.engine.useful + result.engine.tail);
    result.activity.link_bytes *= repeat;
    result.activity.dram_read_bytes = repeat * one.read_bytes + ahead.read_bytes;
    result.activity.dram_write_bytes = repeat * one.write_bytes + ahead.write_bytes;
    result.activity.buffer_read_bytes = repeat * (result.activity.buffer_read_bytes + one.write_bytes);
    result.activity.buffer_write_bytes = repeat * (result.activity.buffer_write_bytes + one.read_bytes);
    result.activity.packed_values = repeat * one.packed_values + ahead.packed_values;
    result.engine_cycles = piece.repeat * one.engine;
    result.bandwidth_cycles = piece.repeat * one.bandwidth;
    result.packing_cycles = piece.repeat * one.packing + ahead.packing;
    result.cycles = result.engine_cycles + result.bandwidth_cycles + result.packing_cycles;
    result.tiles = piece.repeat * table.m.count * table.n.count * table.k.count;
    return result;
}

}  // namespace enmesh::accel::sat
