#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/accel/sat/sore.hpp"
#include "enmesh/accel/workload/vector_cost.hpp"

/// The WUVE: SAT's vector engine. FP32 lanes run the optimizer step on masters, gradients and momentum, and
/// every other vector operation of the training step (docs/sat.md).
namespace enmesh::accel::sat {

struct Wuve {
    int lanes = 32;          ///< FP32 multiply-add lanes (ours)
    int latency_cycles = 8;  ///< least time from an element's turn in a lane to its result (ours)
};
std::span<const ParameterRange<Wuve>> wuve_ranges();
void check(const Wuve& wuve);

/// Cycles from the end of an element's turn in a lane (the `lane_ops` cycles that are its own) to its result:
/// lane_ops + 2, one more if they are even in number, and at least latency_cycles (docs/sat.md, "A lane").
int64_t pipeline_cycles(const Wuve& wuve, int lane_ops) noexcept;

/// rounds * (passes * pipeline_cycles + ceil(elements / lanes) * lane_ops), the pipeline of the lane
/// operations of one pass; 0 for no elements. `rounds`: how often the lanes go over every element (mvue,
/// transposable_mask; else 1).
int64_t vector_cycles(const Wuve& wuve, const VectorCost& cost, int64_t elements,
                      int64_t rounds = 1) noexcept;

/// The weight update of one layer, as a rows x cols matrix (output channels x input channels at one kernel
/// position, times `repeats` kernel positions).
struct WeightUpdate {
    int64_t rows = 0;
    int64_t cols = 0;
    int64_t repeats = 1;
    int lane_ops = 4;    ///< of the optimizer: vector_cost("sgd_momentum_update") and its like
    Pattern pattern{};   ///< of the packed weights; {0, 0}: none is packed
    int directions = 0;  ///< pre-generated packed forms: 2 (FF's along cols, BP's along rows), 1 or 0
};

/// Tiles of M x M (16 x 16 without a pattern), ragged edges charged whole. The lanes work on a set of
/// b = max(1, floor(lanes / M*M)) tiles side by side, the last set on what is left. A set takes
/// max(ceil(M*M / lanes) * lane_ops, ceil(b * directions * M / groups_per_cycle)): SORE packs one set while
/// the lanes update the next. Then the pipeline's latency and, if anything is packed, the last set's
/// selection.
int64_t update_cycles(const Wuve& wuve, const Sore& sore, const WeightUpdate& update) noexcept;

/// SGD with momentum as the lanes compute it: each lane operation is an FP32 multiply, rounded, then an FP32
/// add, rounded (docs/sat.md, "Bits of an update").
///   g = weight_decay * w + gradient_scale * diff;  v = momentum * v + g;  w = w - lr * v
///   (Nesterov: w = w - lr * (momentum * v + g))
struct SgdStep {
    float lr = 0;
    float momentum = 0;
    float weight_decay = 0;
    float gradient_scale = 1;  ///< 1 / (loss scale * micro-batches), times what clipping leaves
    bool nesterov = false;
};
void update_elements(const SgdStep& step, std::span<float> masters, std::span<float> velocity,
                     std::span<const float> diff);

/// AdamW likewise; root and division are rounded once.
///   d = gradient_scale * diff;  m = beta1 * m + rest1 * d;  v = rest2 * d * d + beta2 * v
///   w = w - lr * (weight_decay * w + m * correction1 / (sqrt(v * correction2) + epsilon))
struct AdamStep {
    float lr = 0;
    float gradient_scale = 1;
    float weight_decay = 0;
    float beta1 = 0, rest1 = 1;  ///< rest: 1 - beta, rounded once
    float beta2 = 0, rest2 = 1;
    float epsilon = 0;
    float correction1 = 1, correction2 = 1;  ///< 1 / (1 - beta^updates)
};
void update_elements(const AdamStep& step, std::span<float> masters, std::span<float> first,
                     std::span<float> second, std::span<const float> diff);

/// One M x M tile: updates masters and velocity in place ([M][M], output channels x input channels) and
/// returns both packed forms, ranked by the new masters: `along_cols[r]` packs row r, `along_rows[c]` packs
/// column c.
struct PackedTile {
    std::vector<SorePacked> along_cols;
    std::vector<SorePacked> along_rows;
};
PackedTile update_tile(const SgdStep& step, Pattern pattern, std::span<float> masters,
                       std::span<float> velocity, std::span<const float> diff);

}  // namespace enmesh::accel::sat
