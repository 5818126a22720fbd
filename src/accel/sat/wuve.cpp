#include "enmesh/accel/sat/wuve.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "accel/common/check_ranges.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {

std::span<const ParameterRange<Wuve>> wuve_ranges() {
    static constexpr std::array ranges = {
        ParameterRange<Wuve>{"lanes", &Wuve::lanes, 1, 4096},
        ParameterRange<Wuve>{"latency_cycles", &Wuve::latency_cycles, 1, 256},
    };
    return ranges;
}

void check(const Wuve& wuve) { check_ranges("wuve", wuve, wuve_ranges()); }

int64_t pipeline_cycles(const Wuve& wuve, int lane_ops) noexcept {
    return std::max<int64_t>(wuve.latency_cycles, int64_t{lane_ops} + 2 + (lane_ops % 2 == 0 ? 1 : 0));
}

int64_t vector_cycles(const Wuve& wuve, const VectorCost& cost, int64_t elements, int64_t rounds) noexcept {
    if (elements <= 0) return 0;
    return cost.passes * rounds *
               pipeline_cycles(wuve, static_cast<int>(ceil_div(cost.lane_ops, cost.passes))) +
           ceil_div(elements, wuve.lanes) * cost.lane_ops * rounds;
}

int64_t update_cycles(const Wuve& wuve, const Sore& sore, const WeightUpdate& update) noexcept {
    const int64_t side = update.pattern.m > 0 ? update.pattern.m : Pattern::max_m;
    const int64_t tiles = ceil_div(update.rows, side) * ceil_div(update.cols, side) * update.repeats;
    if (tiles <= 0) return 0;
    const int64_t abreast = std::max<int64_t>(1, wuve.lanes / (side * side));
    const int64_t sets = ceil_div(tiles, abreast), last_tiles = tiles - (sets - 1) * abreast;
    const int64_t lanes_cycles = ceil_div(side * side, wuve.lanes) * update.lane_ops;
    const int64_t groups = update.directions * side;
    const int64_t select_cycles = ceil_div(abreast * groups, sore.groups_per_cycle);
    return pipeline_cycles(wuve, update.lane_ops) + (sets - 1) * std::max(lanes_cycles, select_cycles) +
           lanes_cycles + sore_cycles(sore, last_tiles * groups);
}

void update_elements(const SgdStep& step, std::span<float> masters, std::span<float> velocity,
                     std::span<const float> diff) {
    ENMESH_ASSERT(velocity.size() == masters.size() && diff.size() == masters.size());
    for (size_t i = 0; i < masters.size(); ++i) {
        const float scaled = step.gradient_scale * diff[i];
        const float decayed = step.weight_decay * masters[i] + scaled;
        velocity[i] = step.momentum * velocity[i] + decayed;
        const float direction = step.nesterov ? step.momentum * velocity[i] + decayed : velocity[i];
        masters[i] = -step.lr * direction + masters[i];
    }
}

void update_elements(const AdamStep& step, std::span<float> masters, std::span<float> first,
                     std::span<float> second, std::span<const float> diff) {
    ENMESH_ASSERT(first.size() == masters.size() && second.size() == masters.size() &&
                  diff.size() == masters.size());
    for (size_t i = 0; i < masters.size(); ++i) {
        const float scaled = step.gradient_scale * diff[i];
        const float first_share = step.rest1 * scaled;
        first[i] = step.beta1 * first[i] + first_share;
        const float faded = step.beta2 * second[i];
        const float second_share = step.rest2 * scaled;
        second[i] = second_share * scaled + faded;
        const float root = std::sqrt(second[i] * step.correction2) + step.epsilon;
        const float quotient = first[i] * step.correction1 / root;
        const float direction = step.weight_decay * masters[i] + quotient;
        masters[i] = -step.lr * direction + masters[i];
    }
}

PackedTile update_tile(const SgdStep& step, Pattern pattern, std::span<float> masters,
                       std::span<float> velocity, std::span<const float> diff) {
    check_pattern(pattern);
    const size_t side = static_cast<size_t>(pattern.m);
    ENMESH_ASSERT(masters.size() == side * side);
    update_elements(step, masters, velocity, diff);
    PackedTile tile;
    for (size_t line = 0; line < side; ++line) {
        SoreGroup row, column;
        for (size_t i = 0; i < side; ++i) {
            row.ranks[i] = masters[line * side + i];
            row.values[i] = to_half(row.ranks[i]);
            column.ranks[i] = masters[i * side + line];
            column.values[i] = to_half(column.ranks[i]);
        }
        tile.along_cols.push_back(sore_select(row, pattern));
        tile.along_rows.push_back(sore_select(column, pattern));
    }
    return tile;
}

}  // namespace enmesh::accel::sat
