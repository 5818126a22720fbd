#include "enmesh/accel/sat/wuve.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "accel/common/check_ranges.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

constexpr int special = special_lane_ops;

// Activations and their gradients are FP16 in DRAM (2 bytes), masters and optimizer state FP32 (4).
// Statistics that run over a product's output are taken while it drains through the lanes: they cost
// lane-operations, no DRAM bytes.
constexpr std::array costs = {
    // FP32 sums of the micro-batches' gradients.
    VectorCost{"accumulate", 1, 1, 8, 4},
    // w, g, m, v in; w, m, v and the FP16 weight out. Gradient scale, moments (2 and 3), two corrections,
    // root, epsilon, division, decay, step.
    VectorCost{"adam_update", 1, 11 + 2 * special, 16, 14},
    VectorCost{"add", 1, 1, 4, 2},
    // An FP32 weight gradient and a byte of mask in.
    VectorCost{"apply_mask", 1, 1, 5, 4},
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
    // Probability minus target, over the batch.
    VectorCost{"cross_entropy_backward", 1, 2, 2, 2},
    VectorCost{"divide", 1, special, 4, 2},
    // Comparison with a random number, product; the generator works beside the lanes.
    VectorCost{"dropout", 1, 2, 2, 2},
    // A gradient added to its row of the FP32 table gradient.
    VectorCost{"embedding_backward", 1, 1, 6, 4},
    VectorCost{"exponential_average", 1, 2, 8, 4},
    // Zeros, FP32.
    VectorCost{"fill", 1, 1, 0, 4},
    // tanh form: polynomial (3), exp, division, product; the backward adds the derivative's four.
    VectorCost{"gelu_backward", 1, 8 + 2 * special, 4, 2},
    VectorCost{"gelu_forward", 1, 4 + 2 * special, 2, 2},
    // The sum of squares of FP32 gradients; the factor that follows is an operand of the update.
    VectorCost{"gradient_norm", 1, 1, 4, 0},
    VectorCost{"layer_norm_backward", 2, 4, 8, 2},
    VectorCost{"layer_norm_forward", 2, 3, 4, 2},
    // A byte of mask on its way to SORE, where it takes the place of the rank.
    VectorCost{"mask_rank", 1, 0, 1, 0},
    // One compare a window element is charged to the input; the argmax costs a byte.
    VectorCost{"max_pool_backward", 1, 1, 1, 2},
    VectorCost{"max_pool_forward", 1, 1, 2, 1},
    VectorCost{"multiply", 1, 1, 4, 2},
    // In each of N rounds a comparison with the threshold, a selection, a sum, a share of the group's
    // division
    // (8 over M values) and of the four operations that follow the last: share, cumulated share, comparison
    // with the random number, value.
    VectorCost{"mvue", 1, 8, 2, 2},
    // At most a multiply-add, two comparisons and a product (hard swish); the backward has a derivative in
    // place of the clipped line.
    VectorCost{"piecewise_backward", 1, 4, 4, 2},
    VectorCost{"piecewise_forward", 1, 4, 2, 2},
    // A sum over axes; the results are few.
    VectorCost{"reduce", 1, 1, 2, 0},
    VectorCost{"relu_backward", 1, 1, 4, 2},
    VectorCost{"relu_forward", 1, 1, 2, 2},
    VectorCost{"scale", 1, 1, 2, 2},
    // The FP32 masters in, a byte of mask out; SORE ranks.
    VectorCost{"select_mask", 1, 0, 4, 1},
    // w, g, v in; w, v and the FP16 weight out: gradient scale, decay, momentum, step.
    VectorCost{"sgd_momentum_update", 1, 4, 12, 10},
    VectorCost{"sgd_nesterov_update", 1, 5, 12, 10},
    // w, g in; w and the FP16 weight out: gradient scale, decay, step.
    VectorCost{"sgd_update", 1, 3, 8, 6},
    VectorCost{"softmax_backward", 2, 3, 8, 2},
    VectorCost{"softmax_forward", 3, 3 + 2 * special, 6, 2},
    // exp, log or root; the backward also a division and a product.
    VectorCost{"special_backward", 1, 1 + 2 * special, 4, 2},
    VectorCost{"special_forward", 1, special, 2, 2},
    // FP32 gradient and weight, a byte that says what is kept: scale, decay where nothing is.
    VectorCost{"sr_decay", 1, 2, 9, 4},
    // In each of N*M augmentations of a tile's flow every element is visited twice: its potential forward,
    // its flow back. Masters in, a byte of mask out.
    VectorCost{"transposable_mask", 1, 2, 4, 1},
    // Packed values and indices (at most what a copy reads) to their places.
    VectorCost{"unpack", 1, 1, 2, 2},
};

}  // namespace

std::span<const ParameterRange<Wuve>> wuve_ranges() {
    static constexpr std::array ranges = {
        ParameterRange<Wuve>{"lanes", &Wuve::lanes, 1, 4096},
        ParameterRange<Wuve>{"latency_cycles", &Wuve::latency_cycles, 1, 256},
    };
    return ranges;
}

void check(const Wuve& wuve) { check_ranges("wuve", wuve, wuve_ranges()); }

std::span<const VectorCost> vector_costs() { return costs; }

const VectorCost& vector_cost(std::string_view name) {
    const auto found =
        std::find_if(costs.begin(), costs.end(), [&](const VectorCost& c) { return c.name == name; });
    if (found != costs.end()) return *found;
    std::vector<std::string> names;
    for (const VectorCost& cost : costs) names.emplace_back(cost.name);
    refuse("unknown vector operation '{}'{}", name, suggestion(name, names));
}

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

}  // namespace enmesh::accel
