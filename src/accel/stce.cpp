#include "enmesh/accel/stce.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void check_range(const char* name, int value, int low, int high) {
    if (value < low || value > high) refuse("stce.{} is {}: it must be {}..{}", name, value, low, high);
}

/// Times a pass or tile is made of; the only place where the closed form knows latencies.
struct GroupTiming {
    int64_t round;   ///< P: cycles between two products of one output, max(I, L)
    int64_t period;  ///< g: cycles a group takes
    int64_t fill;    ///< first latch fill
    int64_t skew;    ///< WS row skew: a row's first sum is ready for the next row
};

GroupTiming group_timing(const Stce& stce, const EngineMapping& mapping, int64_t values, int64_t group) {
    const int64_t streamed = mapping.interleave_pixels ? group * mapping.interleave : group;
    GroupTiming timing;
    timing.round = std::max<int64_t>(mapping.interleave, stce.adder_latency);
    timing.fill = ceil_div(streamed, stce.row_link_values);
    timing.period = std::max(values * timing.round, timing.fill);
    timing.skew = (values - 1) * timing.round + stce.adder_latency;
    return timing;
}

struct Passes {
    int64_t steps = 0;     ///< group periods over all passes
    int64_t constant = 0;  ///< fill and drain over all passes, cycles
    int64_t total = 0;     ///< cycles
};

/// `count` passes of the same length, each followed by a load: hidden behind the pass if there is a second
/// packed set.
int64_t with_load(const Stce& stce, int64_t pass, int64_t load) {
    return stce.packed_sets >= 2 ? std::max(pass, load) : pass + load;
}

Passes weight_stationary(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                         const EngineTiling& cut, const GroupTiming& timing) {
    const int64_t per_step = mapping.interleave_pixels ? mapping.interleave : 1;
    const int64_t packed = (mapping.interleave_pixels ? 1 : mapping.interleave) * int64_t{cut.values};
    const int64_t load = stce.rows * ceil_div(packed, stce.column_link_values);
    const int64_t constant =
        timing.fill + (stce.rows - 1) * timing.skew + (stce.cols - 1) + stce.adder_latency;
    const int64_t full_steps = ceil_div(cut.rows_per_tile, per_step);
    const int64_t last_rows = product.m - (cut.row_tiles - 1) * cut.rows_per_tile;
    const int64_t last_steps = ceil_div(last_rows, per_step);
    const int64_t full = full_steps * timing.period + constant;
    const int64_t last = last_steps * timing.period + constant;

    Passes sum;
    const int64_t stacks = cut.col_tiles * cut.reduction_passes;
    sum.steps = stacks * ((cut.row_tiles - 1) * full_steps + last_steps);
    sum.constant = cut.passes * constant;
    if (cut.reduction_passes == 1) {
        // A column tile's groups are loaded once, hidden behind all row tiles of the tile before.
        const int64_t column = (cut.row_tiles - 1) * full + last;
        sum.total = load + (cut.col_tiles - 1) * with_load(stce, column, load) + column;
    } else {
        sum.total = load + stacks * (cut.row_tiles - 1) * with_load(stce, full, load) +
                    (stacks - 1) * with_load(stce, last, load) + last;
    }
    return sum;
}

Passes output_stationary(const Stce& stce, const EngineMapping& mapping, const EngineTiling& cut,
                         const GroupTiming& timing) {
    const int64_t constant = timing.fill + (stce.rows - 1) + (stce.cols - 1) + stce.adder_latency;
    const int64_t compute = cut.groups * timing.period + constant;
    const int64_t drain = int64_t{stce.rows} * mapping.interleave;

    Passes sum;
    sum.steps = cut.passes * cut.groups;
    sum.total = stce.accumulator_sets >= 2 ? compute + drain + (cut.passes - 1) * std::max(compute, drain)
                                           : cut.passes * (compute + drain);
    sum.constant = sum.total - sum.steps * timing.period;
    return sum;
}

}  // namespace

std::string to_string(Dataflow dataflow) {
    switch (dataflow) {
        case Dataflow::ws:
            return "ws";
        case Dataflow::os:
            return "os";
        case Dataflow::is:
            return "is";
    }
    return "?";
}

void check(const Stce& stce) {
    check_range("rows", stce.rows, 1, 1024);
    check_range("cols", stce.cols, 1, 1024);
    check_range("adder_latency", stce.adder_latency, 1, 64);
    check_range("max_group", stce.max_group, 1, 16);
    check_range("max_interleave", stce.max_interleave, 1, 64);
    check_range("packed_values", stce.packed_values, 1, 4096);
    check_range("packed_sets", stce.packed_sets, 1, 2);
    check_range("latches", stce.latches, 2, 128);
    check_range("row_link_values", stce.row_link_values, 1, 1024);
    check_range("column_link_values", stce.column_link_values, 1, 1024);
    check_range("accumulator_sets", stce.accumulator_sets, 1, 2);
    if (!(stce.clock_hz >= 1e3 && stce.clock_hz <= 1e11))
        refuse("stce.clock_hz is {}: it must be 1e3..1e11", stce.clock_hz);
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

EngineTiling tiling(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping) {
    EngineTiling cut;
    if (product.dense()) {
        cut.values = cut.group = mapping.group;
        cut.groups = ceil_div(product.k, cut.group);
    } else {
        cut.values = product.pattern.n;
        cut.group = product.pattern.m;
        const int64_t whole = product.k / cut.group;
        cut.groups = whole + ceil_div(product.k - whole * cut.group, cut.values);
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
    const EngineTiling cut = tiling(stce, product, mapping);
    const GroupTiming timing = group_timing(stce, mapping, cut.values, cut.group);
    const Passes passes = mapping.dataflow == Dataflow::ws
                              ? weight_stationary(stce, product, mapping, cut, timing)
                              : output_stationary(stce, mapping, cut, timing);

    const int64_t elements = int64_t{stce.rows} * stce.cols;
    const int64_t whole = product.k / cut.group;
    const int64_t kept = product.dense() ? product.k : whole * cut.values + (product.k - whole * cut.group);
    EngineCycles result;
    result.cycles = passes.total;
    result.useful = product.m * product.n * kept;
    result.tail = passes.steps * cut.values * mapping.interleave * elements - result.useful;
    result.adder = passes.steps * cut.values * (timing.round - mapping.interleave) * elements;
    result.link = passes.steps * (timing.period - cut.values * timing.round) * elements;
    result.fill_drain = passes.constant * elements;
    result.load = (passes.total - passes.constant - passes.steps * timing.period) * elements;
    return result;
}

}  // namespace enmesh::accel
