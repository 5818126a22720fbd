#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/arithmetic.hpp"

#include <algorithm>

#include "accel/common/check_ranges.hpp"
#include "accel/sat/stce/stce_form.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

constexpr std::array ranges = {
    ParameterRange<Stce>{"rows", &Stce::rows, 1, 1024},
    ParameterRange<Stce>{"cols", &Stce::cols, 1, 1024},
    ParameterRange<Stce>{"adder_latency", &Stce::adder_latency, 1, 64},
    ParameterRange<Stce>{"max_group", &Stce::max_group, 1, Pattern::max_m},
    ParameterRange<Stce>{"max_interleave", &Stce::max_interleave, 1, 64},
    ParameterRange<Stce>{"packed_values", &Stce::packed_values, 1, 4096},
    ParameterRange<Stce>{"packed_sets", &Stce::packed_sets, 1, 2},
    // Two for one streamed row, two for each of 64 interleaved pixels.
    ParameterRange<Stce>{"latches", &Stce::latches, 2, 128},
    // Up to a whole group period: 64 x 16 values.
    ParameterRange<Stce>{"row_link_values", &Stce::row_link_values, 1, 1024},
    ParameterRange<Stce>{"column_link_values", &Stce::column_link_values, 1, 1024},
    ParameterRange<Stce>{"accumulator_sets", &Stce::accumulator_sets, 1, 2},
};

}  // namespace

std::span<const ParameterRange<Stce>> stce_ranges() { return ranges; }

void check(const Stce& stce) {
    check_ranges("stce", stce, stce_ranges());
    if (!(stce.clock_hz >= least_clock_hz && stce.clock_hz <= most_clock_hz))
        refuse("stce.clock_hz is {}: it must be {:g}..{:g}", stce.clock_hz, least_clock_hz, most_clock_hz);
}

void check(const EngineProduct& product) {
    constexpr int64_t largest = int64_t{1} << 31;
    const std::array sizes = {product.m, product.n, product.k};
    for (size_t i = 0; i < sizes.size(); ++i)
        if (sizes[i] < 1 || sizes[i] > largest)
            refuse("product size {} is {}: it must be 1..2^31", "mnk"[i], sizes[i]);
    if (static_cast<double>(product.m) * static_cast<double>(product.n) * static_cast<double>(product.k) >
        0x1p53)
        refuse("product {} x {} x {} has more than 2^53 multiply-adds", product.m, product.n, product.k);
    if (!product.dense()) check_pattern(product.pattern);
}

namespace detail {

EngineForm::EngineForm(const Stce& stce, Pattern pattern, const EngineMapping& mapping) noexcept
    : ws_(mapping.dataflow == Dataflow::ws),
      dense_(pattern.n == 0),
      values_(dense_ ? mapping.group : pattern.n),
      group_(dense_ ? mapping.group : pattern.m),
      pixels_(mapping.interleave_pixels ? mapping.interleave : 1),
      array_rows_(stce.rows),
      tile_m_(mapping.tile_m),
      columns_per_tile_(int64_t{stce.cols} * (mapping.interleave_pixels ? 1 : mapping.interleave)),
      packed_sets_(stce.packed_sets),
      accumulator_sets_(stce.accumulator_sets) {
    timing_.round = std::max<int64_t>(mapping.interleave, stce.adder_latency);
    timing_.fill = ceil_div(group_ * pixels_, stce.row_link_values);
    timing_.period = std::max(values_ * timing_.round, timing_.fill);
    timing_.skew = (values_ - 1) * timing_.round + stce.adder_latency;
    const int64_t row_skew = ws_ ? timing_.skew : 1;
    constant_ = timing_.fill + (stce.rows - 1) * row_skew + (stce.cols - 1) + stce.adder_latency;
    const int64_t packed = (mapping.interleave_pixels ? 1 : mapping.interleave) * int64_t{values_};
    load_ = stce.rows * ceil_div(packed, stce.column_link_values);
    drain_ = int64_t{stce.rows} * mapping.interleave;
}

RowCut EngineForm::rows(int64_t m) const noexcept {
    RowCut cut;
    if (!ws_) {
        cut.tiles = ceil_div(m, array_rows_ * pixels_);
        return cut;
    }
    const int64_t tile = tile_m_ == 0 ? m : std::min(tile_m_, m);
    cut.tiles = ceil_div(m, tile);
    cut.full_steps = ceil_div(tile, pixels_);
    cut.last_steps = ceil_div(m - (cut.tiles - 1) * tile, pixels_);
    return cut;
}

int64_t EngineForm::column_tiles(int64_t n) const noexcept { return ceil_div(n, columns_per_tile_); }

DepthCut EngineForm::depth(int64_t k) const noexcept {
    DepthCut cut;
    const int64_t whole = k / group_, tail = k - whole * group_;
    cut.groups = dense_ ? whole + (tail > 0) : whole + ceil_div(tail, values_);
    if (ws_) cut.passes = ceil_div(cut.groups, array_rows_);
    return cut;
}

Passes EngineForm::weight_stationary(const RowCut& rows, int64_t column_tiles,
                                     const DepthCut& depth) const noexcept {
    const int64_t full = rows.full_steps * timing_.period + constant_;
    const int64_t last = rows.last_steps * timing_.period + constant_;
    const int64_t stacks = column_tiles * depth.passes;
    Passes sum;
    sum.steps = stacks * ((rows.tiles - 1) * rows.full_steps + rows.last_steps);
    sum.constant = stacks * rows.tiles * constant_;
    if (depth.passes == 1) {
        // A column tile's groups are loaded once, hidden behind all row tiles of the tile before.
        const int64_t column = (rows.tiles - 1) * full + last;
        sum.total = load_ + (column_tiles - 1) * with_load(column) + column;
    } else {
        sum.total =
            load_ + stacks * (rows.tiles - 1) * with_load(full) + (stacks - 1) * with_load(last) + last;
    }
    return sum;
}

Passes EngineForm::output_stationary(const RowCut& rows, int64_t column_tiles,
                                     const DepthCut& depth) const noexcept {
    const int64_t tiles = rows.tiles * column_tiles;
    const int64_t compute = depth.groups * timing_.period + constant_;
    Passes sum;
    sum.steps = tiles * depth.groups;
    sum.total = accumulator_sets_ >= 2 ? compute + drain_ + (tiles - 1) * std::max(compute, drain_)
                                       : tiles * (compute + drain_);
    sum.constant = sum.total - sum.steps * timing_.period;
    return sum;
}

}  // namespace detail

EngineTiling tiling(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping) {
    EngineTiling cut;
    if (product.dense()) {
        cut.values = cut.group = mapping.group;
        cut.groups = ceil_div(product.k, cut.group);
    } else {
        cut.values = product.pattern.n;
        cut.group = product.pattern.m;
        cut.groups = packed_groups(product.pattern, product.k);
    }
    const int64_t pixels = mapping.interleave_pixels ? mapping.interleave : 1;
    const int64_t columns = mapping.interleave_pixels ? 1 : mapping.interleave;
    cut.cols_per_tile = stce.cols * columns;
    cut.col_tiles = ceil_div(product.n, cut.cols_per_tile);
    if (mapping.dataflow == Dataflow::ws) {
        cut.rows_per_tile = mapping.tile_m == 0 ? product.m : std::min(mapping.tile_m, product.m);
        cut.reduction_passes = ceil_div(cut.groups, stce.rows);
    } else {
        cut.rows_per_tile = stce.rows * pixels;
        cut.reduction_passes = 1;
    }
    cut.row_tiles = ceil_div(product.m, cut.rows_per_tile);
    cut.passes = cut.row_tiles * cut.col_tiles * cut.reduction_passes;
    if (mapping.dataflow == Dataflow::ws) cut.loads = cut.reduction_passes == 1 ? cut.col_tiles : cut.passes;
    return cut;
}

bool legal(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping) noexcept {
    if (mapping.dataflow == Dataflow::is || mapping.tile_m < 0) return false;
    if (mapping.dataflow == Dataflow::os && product.resume) return false;
    if (mapping.interleave < 1 || mapping.interleave > stce.max_interleave) return false;
    const int group = product.dense() ? mapping.group : product.pattern.m;
    const int values = product.dense() ? mapping.group : product.pattern.n;
    if (group < 1 || group > stce.max_group) return false;
    if (mapping.interleave_pixels && 2 * mapping.interleave > stce.latches) return false;
    const int held = mapping.interleave_pixels ? values : values * mapping.interleave;
    return mapping.dataflow == Dataflow::os || held <= stce.packed_values;
}

std::string why_illegal(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping) {
    if (legal(stce, product, mapping)) return {};
    if (mapping.dataflow == Dataflow::is) return "the STCE runs ws and os, not is";
    if (mapping.dataflow == Dataflow::os && product.resume)
        return "os accumulators cannot be loaded: only ws products resume stored sums";
    if (mapping.tile_m < 0)
        return fmt::format("tile_m is {}: it must be 0 (all rows) or more", mapping.tile_m);
    if (mapping.interleave < 1 || mapping.interleave > stce.max_interleave)
        return fmt::format("interleave is {}: the array supports 1..{} (max_interleave)", mapping.interleave,
                           stce.max_interleave);
    const int group = product.dense() ? mapping.group : product.pattern.m;
    const int values = product.dense() ? mapping.group : product.pattern.n;
    if (group < 1 || group > stce.max_group)
        return fmt::format("groups of {} values: the array supports 1..{} (max_group)", group,
                           stce.max_group);
    if (mapping.interleave_pixels && 2 * mapping.interleave > stce.latches)
        return fmt::format("interleaving {} pixels takes {} latches: the array has {}", mapping.interleave,
                           2 * mapping.interleave, stce.latches);
    return fmt::format("{} packed entries an element: it holds {} (packed_values)",
                       mapping.interleave_pixels ? values : values * mapping.interleave, stce.packed_values);
}

EngineCycles closed_form(const Stce& stce, const EngineProduct& product,
                         const EngineMapping& mapping) noexcept {
    const detail::EngineForm form(stce, product.pattern, mapping);
    const detail::Passes passes =
        form.passes(form.rows(product.m), form.column_tiles(product.n), form.depth(product.k));
    const detail::GroupTiming& timing = form.timing();
    const int group = product.dense() ? mapping.group : product.pattern.m;
    const int values = product.dense() ? mapping.group : product.pattern.n;

    const int64_t elements = int64_t{stce.rows} * stce.cols;
    const int64_t whole = product.k / group;
    const int64_t kept = product.dense() ? product.k : whole * values + (product.k - whole * group);
    EngineCycles result;
    result.cycles = passes.total;
    result.useful = product.m * product.n * kept;
    result.tail = passes.steps * values * mapping.interleave * elements - result.useful;
    result.adder = passes.steps * values * (timing.round - mapping.interleave) * elements;
    result.link = passes.steps * (timing.period - values * timing.round) * elements;
    result.fill_drain = passes.constant * elements;
    result.load = (passes.total - passes.constant - passes.steps * timing.period) * elements;
    return result;
}

}  // namespace enmesh::accel::sat
