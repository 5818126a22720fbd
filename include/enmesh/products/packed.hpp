#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "enmesh/base/pattern.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::products {

/// Sizes of a compact N:M operand: `rows` x `taps` vectors of `reduction` elements, cut into groups of M of
/// which N are kept. What is left over at the end of the reduction (reduction % M elements) is kept whole, as
/// the tail.
///
/// FF weights: rows = K, taps = R * S, reduction = C / groups. BP weights: rows = C, reduction = K / groups.
/// SDGP's diff_dst: rows = N * OH * OW, taps = 1, reduction = K. MVUE's: rows = K, taps = 1, reduction = N *
/// OH * OW.
struct PackedShape {
    Pattern pattern;
    int64_t rows = 0, taps = 1, reduction = 0;

    friend bool operator==(const PackedShape&, const PackedShape&) = default;

    int64_t groups() const { return reduction / pattern.m; }
    int64_t tail() const { return reduction % pattern.m; }
    /// Kept values (and indices): [rows][taps][groups][n].
    int64_t kept() const { return rows * taps * groups() * pattern.n; }
    /// Tail values: [rows][taps][tail].
    int64_t tail_size() const { return rows * taps * tail(); }
};

/// A compact operand in the caller's memory. Indices are positions in the group, ascending within it.
struct PackedView {
    PackedShape shape;
    std::span<const float> values;
    std::span<const uint8_t> indices;
    std::span<const float> tail;
};

/// The same, to be written.
struct PackedSpan {
    PackedShape shape;
    std::span<float> values;
    std::span<uint8_t> indices;
    std::span<float> tail;
};

/// A compact operand that owns its memory.
class Packed {
  public:
    Packed() = default;
    explicit Packed(const PackedShape& shape);

    const PackedShape& shape() const { return shape_; }
    PackedView view() const { return {shape_, values_, indices_, tail_}; }
    PackedSpan span() { return {shape_, values_, indices_, tail_}; }
    operator PackedView() const { return view(); }

  private:
    PackedShape shape_;
    std::vector<float> values_;
    std::vector<uint8_t> indices_;
    std::vector<float> tail_;
};

/// Where the elements of an operand lie in dense memory: element (row, tap, i) at
/// row * row_stride + tap * tap_stride + i * reduction_stride.
struct DenseAxes {
    int64_t row_stride = 0, tap_stride = 0, reduction_stride = 1;
};

/// How FF or BP sees master weights in KCRS. A grouped convolution is conv.groups operands stacked along the
/// rows.
PackedShape weights_shape(const Conv& conv, Stage stage, Pattern pattern);

/// Keeps the N largest magnitudes of every group of master weights KCRS (ties: the lowest index; NaN counts
/// as the largest, so that it stays visible), for FF or BP. `out` has weights_shape(conv, stage, pattern).
void pack_weights(const Conv& conv, Stage stage, std::span<const float> weights, PackedSpan out);
Packed pack_weights(const Conv& conv, Stage stage, Pattern pattern, std::span<const float> weights);

/// The same from an explicit mask (one byte an element of KCRS, non-zero = kept): frozen and transposable
/// masks. Groups with fewer than N kept are filled up with zeros; more than N is refused, naming the group.
void pack_weights_masked(const Conv& conv, Stage stage, std::span<const float> weights,
                         std::span<const uint8_t> mask, PackedSpan out);

/// Dense KCRS weights again, zeros where nothing was kept.
void unpack_weights(const Conv& conv, Stage stage, const PackedView& packed, std::span<float> weights);

/// Any operand from dense memory, by magnitude, and back.
void pack(const float* dense, const DenseAxes& axes, PackedSpan out);
void unpack(const PackedView& packed, const DenseAxes& axes, float* dense);

}  // namespace enmesh::products
