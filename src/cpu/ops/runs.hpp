#pragma once

#include <algorithm>

#include "cpu/lowering.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::cpu {

/// Elements below which an element-wise pass is not worth a second thread.
constexpr int64_t element_grain = 16384;

/// body(begin, count) over shares of [0, elements) whose bounds are multiples of 16.
template <typename Body>
void over_elements(int64_t elements, const Body& body) {
    const int64_t blocks = (elements + lanes - 1) / lanes;
    parallel_for(blocks, element_grain / lanes, [&](int64_t begin, int64_t end) {
        const int64_t first = begin * lanes, last = end * lanes < elements ? end * lanes : elements;
        body(first, last - first);
    });
}

/// A matrix all of whose rows are `row`.
inline void repeat_row(const float* row, float* out, int64_t rows, int64_t columns) {
    parallel_for(rows, 256, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) std::copy_n(row, columns, out + i * columns);
    });
}

/// Rows of the last axis.
inline int64_t row_count(const Shape& shape) { return shape.elements() / shape[-1]; }

}  // namespace enmesh::cpu
