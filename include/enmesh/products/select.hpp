#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "enmesh/base/random.hpp"
#include "enmesh/products/packed.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::products {

/// How the N of a group are chosen.
enum class Selection {
    magnitude,  ///< the N largest magnitudes as they are (ties: the lowest index)
    /// Minimum-variance unbiased estimate: element i is kept with probability pi_i = min(1, |x_i| / tau), tau
    /// such that the pi sum to N, and stored as x_i / pi_i. Joint choice by systematic sampling: one uniform
    /// per group. (Chmiel et al. 2023 for 1:2 and 2:4; any N:M by the same Lagrange condition.)
    mvue,
};

struct SelectOptions {
    Selection how = Selection::magnitude;
    Random random{0};  ///< mvue: number i decides group i, whatever the order of work
};

/// The compact shape of a sparse diff_dst. BP: rows = N * OH * OW positions, groups along the K output
/// channels (SDGP). WG: rows = K, groups of M consecutive positions of the flattened (n, oh, ow).
PackedShape diff_dst_shape(const Problem& problem);

/// Packs a batch-blocked diff_dst for a problem whose sparse operand it is. `out` has
/// diff_dst_shape(problem).
void pack_diff_dst(const Problem& problem, const SelectOptions& options, const float* diff_dst,
                   PackedSpan out);
Packed pack_diff_dst(const Problem& problem, const SelectOptions& options, const float* diff_dst);
/// The batch-blocked map again, zeros where nothing was kept.
void unpack_diff_dst(const Problem& problem, const PackedView& packed, float* diff_dst);

/// One group by MVUE at a given uniform in [0, 1): n values and ascending indices. Missing non-zeros are
/// filled up with zeros; a group with a NaN or an infinity falls back to magnitude, so that it stays visible.
void select_mvue(std::span<const float> group, int n, double uniform, std::span<float> values,
                 std::span<uint8_t> indices);

/// Everything that select_mvue can return for a group: intervals of the uniform, on which the result is
/// constant.
struct MvueOutcome {
    double probability = 0;
    std::vector<float> values;
    std::vector<uint8_t> indices;
};
std::vector<MvueOutcome> mvue_outcomes(std::span<const float> group, int n);

/// The transposable mask of KCRS weights (one byte an element, 1 = kept): at each tap every whole M x M block
/// of K x C keeps N in each row and column with the largest sum of magnitudes (2:4 by enumeration of its 90
/// masks, any other pattern by min-cost flow; both exact). Channels past the last whole block keep N:M along
/// the complete direction and are dense along the other, so that the mask serves FF and BP alike. Refuses
/// non-finite weights.
void transposable_mask(const Conv& conv, Pattern pattern, std::span<const float> weights,
                       std::span<uint8_t> mask);

/// The mask of one M x M block of magnitudes, row-major.
void transposable_block(Pattern pattern, std::span<const float> magnitudes, std::span<uint8_t> mask);

}  // namespace enmesh::products
