#include "enmesh/accel/wuve.hpp"
#include "enmesh/base/arithmetic.hpp"

#include <algorithm>
#include <array>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

constexpr int special = special_lane_ops;

// Activations and their gradients are FP16 in DRAM (2 bytes), masters and optimizer state FP32 (4).
// Statistics that run over a product's output are taken while it drains through the lanes: they cost
// lane-operations, no DRAM bytes.
constexpr std::array costs = {
    // w, g, m, v in; w, m, v and the FP16 weight out. Decay, two moments (2 each), root, division, step.
    VectorCost{"adam_update", 1, 7 + 2 * special, 16, 14},
    VectorCost{"add", 1, 1, 4, 2},
    VectorCost{"avg_pool_backward", 1, 1, 2, 2},
    VectorCost{"avg_pool_forward", 1, 1, 2, 2},
    // Two sums over dy and dy*xhat (read x, dy), then dx = a*dy + b*x + c (read x, dy again, write dx).
    VectorCost{"batch_norm_backward", 2, 4, 8, 2},
    // Sum and sum of squares while the product drains; then y = a*x + b.
    VectorCost{"batch_norm_forward", 2, 3, 2, 2},
    VectorCost{"batch_norm_inference", 1, 1, 2, 2},
    // Bias added, or its gradient summed, while the product drains.
    VectorCost{"bias", 1, 1, 0, 0},
    // Copies: reshapes that move data, concatenation, zero padding.
    VectorCost{"copy", 1, 1, 2, 2},
    // Maximum, exp, sum, division, minus target.
    VectorCost{"cross_entropy", 3, 3 + 2 * special, 2, 2},
    // tanh form: polynomial (3), exp, division, product; the backward adds the derivative's four.
    VectorCost{"gelu_backward", 1, 8 + 2 * special, 4, 2},
    VectorCost{"gelu_forward", 1, 4 + 2 * special, 2, 2},
    // Clipping and scaling of a gradient by one factor; FP32 in and out.
    VectorCost{"gradient_scale", 1, 1, 4, 4},
    VectorCost{"layer_norm_backward", 2, 4, 8, 2},
    VectorCost{"layer_norm_forward", 2, 3, 4, 2},
    // One compare a window element is charged to the input; the argmax costs a byte.
    VectorCost{"max_pool_backward", 1, 1, 1, 2},
    VectorCost{"max_pool_forward", 1, 1, 2, 1},
    VectorCost{"multiply", 1, 1, 4, 2},
    // Online reduction: one read of the FP16 values; SORE's packed output is charged by pattern, not here.
    VectorCost{"pack", 1, 0, 2, 0},
    VectorCost{"relu_backward", 1, 1, 4, 2},
    VectorCost{"relu_forward", 1, 1, 2, 2},
    // w, g, v in; w, v and the FP16 weight out: decay, momentum, step.
    VectorCost{"sgd_momentum_update", 1, 3, 12, 10},
    // w, g in; w and the FP16 weight out.
    VectorCost{"sgd_update", 1, 2, 8, 6},
    VectorCost{"softmax_backward", 2, 3, 8, 2},
    VectorCost{"softmax_forward", 3, 3 + 2 * special, 6, 2},
};

}  // namespace

void check(const Wuve& wuve) {
    if (wuve.lanes < 1 || wuve.lanes > 4096) refuse("wuve.lanes is {}: it must be 1..4096", wuve.lanes);
    if (wuve.latency_cycles < 1 || wuve.latency_cycles > 256)
        refuse("wuve.latency_cycles is {}: it must be 1..256", wuve.latency_cycles);
}

std::span<const VectorCost> vector_costs() { return costs; }

const VectorCost& vector_cost(std::string_view name) {
    const auto found =
        std::find_if(costs.begin(), costs.end(), [&](const VectorCost& c) { return c.name == name; });
    if (found != costs.end()) return *found;
    std::vector<std::string> names;
    for (const VectorCost& cost : costs) names.emplace_back(cost.name);
    refuse("unknown vector operation '{}'{}", name, suggestion(name, names));
}

int64_t vector_cycles(const Wuve& wuve, const VectorCost& cost, int64_t elements) noexcept {
    if (elements <= 0) return 0;
    return int64_t{cost.passes} * wuve.latency_cycles + ceil_div(elements * cost.lane_ops, wuve.lanes);
}

int64_t update_cycles(const Wuve& wuve, const Sore& sore, const WeightUpdate& update) noexcept {
    const int64_t side = update.pattern.m > 0 ? update.pattern.m : Pattern::max_m;
    const int64_t tiles = ceil_div(update.rows, side) * ceil_div(update.cols, side) * update.repeats;
    if (tiles <= 0) return 0;
    const int64_t lanes_cycles = ceil_div(side * side, wuve.lanes) * update.lane_ops;
    const int64_t groups = update.directions * side;
    const int64_t select_cycles = ceil_div(groups, sore.groups_per_cycle);
    const int64_t last_selection = groups > 0 ? sore_cycles(sore, groups) : 0;
    return wuve.latency_cycles + (tiles - 1) * std::max(lanes_cycles, select_cycles) + lanes_cycles +
           last_selection;
}

PackedTile update_tile(const SgdStep& step, Pattern pattern, std::span<float> masters,
                       std::span<float> velocity, std::span<const float> diff) {
    check_pattern(pattern);
    const size_t side = static_cast<size_t>(pattern.m);
    ENMESH_ASSERT(masters.size() == side * side && velocity.size() == side * side &&
                  diff.size() == side * side);
    for (size_t i = 0; i < side * side; ++i) {
        const float decayed = diff[i] + step.weight_decay * masters[i];
        velocity[i] = step.momentum * velocity[i] + decayed;
        masters[i] = masters[i] - step.lr * velocity[i];
    }
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

}  // namespace enmesh::accel
