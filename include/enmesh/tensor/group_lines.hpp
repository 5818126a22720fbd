#pragma once

#include "enmesh/tensor/value_type.hpp"

namespace enmesh {

/// The lines of a row-major tensor that N:M groups are cut from: `lines` vectors of `length` elements each.
/// Group g of a line holds its elements g * M .. g * M + M - 1; a rest of length % M elements is the dense
/// tail.
struct GroupLines {
    int64_t lines = 0, length = 0;

    /// Where element i of a line lies in the tensor.
    int64_t offset(int64_t line, int64_t i) const {
        return line / inner_ * outer_stride_ + line % inner_ * inner_stride_ + i / run_ * run_stride_ +
               i % run_ * step_;
    }

    // offset() = outer line, inner line, outer position, inner position: enough for every GroupAxis.
    int64_t inner_ = 1, outer_stride_ = 0, inner_stride_ = 0;
    int64_t run_ = 1, run_stride_ = 0, step_ = 0;
};

/// Lines along `axis`: see GroupAxis. Weights are KCRS or KC; gradients NKHW (rank 4) or with the channels
/// last. Refuses a rank that the axis has no meaning for.
GroupLines group_lines(const Shape& shape, GroupAxis axis);

}  // namespace enmesh
