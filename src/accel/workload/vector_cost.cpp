#include "enmesh/accel/workload/vector_cost.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

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
    // division (8 over M values) and of the four operations that follow the last: share, cumulated share,
    // comparison with the random number, value.
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

std::span<const VectorCost> vector_costs() { return costs; }

const VectorCost& vector_cost(std::string_view name) {
    const auto found =
        std::find_if(costs.begin(), costs.end(), [&](const VectorCost& c) { return c.name == name; });
    if (found != costs.end()) return *found;
    std::vector<std::string> names;
    for (const VectorCost& cost : costs) names.emplace_back(cost.name);
    refuse("unknown vector operation '{}'{}", name, suggestion(name, names));
}

}  // namespace enmesh::accel
