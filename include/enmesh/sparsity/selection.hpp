#pragma once

#include <cstdint>
#include <span>

#include "enmesh/base/pattern.hpp"
#include "enmesh/tensor/group_lines.hpp"

namespace enmesh {

/// Positions of the `kept.size()` largest magnitudes of a group, ascending; ties go to the lowest index; NaN
/// counts as the largest, so that it stays visible.
void select_magnitude(std::span<const double> group, std::span<uint8_t> kept);

/// Minimum-variance unbiased N:M choice (Chmiel et al. 2022, any N:M by the Lagrange argument): element i of
/// the group is kept with probability min(1, |x_i| / tau), tau such that the probabilities sum to N, and then
/// has the value x_i / probability. One number `uniform` in [0, 1) decides the group (systematic sampling:
/// element i is kept where an integer plus `uniform` falls into its share of the cumulated probabilities).
/// Writes kept.size() positions, ascending, and the values. A group with at most N non-zeros is kept as it
/// is, filled up with zeros at its lowest free positions.
void select_mvue(std::span<const double> group, double uniform, std::span<uint8_t> kept,
                 std::span<double> values);

/// Writes 1 where magnitude selection keeps an element, 0 elsewhere; the tail of each line is kept. The
/// tensor is row-major of `shape`.
void magnitude_mask(const Shape& shape, GroupAxis axis, Pattern pattern, std::span<const float> weights,
                    std::span<uint8_t> mask);

/// The mask that keeps exactly N in every M consecutive input channels and in every M consecutive output
/// channels (at one kernel position), of largest sum of magnitudes (Hubara et al. 2021: a maximum-weight
/// flow per M x M tile). Exact: magnitudes are compared after rounding to 2^-40 of the tile's largest.
/// Weights are KCRS or KC with both channel counts multiples of M.
void transposable_mask(const Shape& shape, Pattern pattern, std::span<const float> weights,
                       std::span<uint8_t> mask);

}  // namespace enmesh
