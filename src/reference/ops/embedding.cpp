#include "reference/run.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh::reference {

namespace {

int64_t checked_index(const Array& indices, int64_t at, int64_t rows) {
    const auto index = static_cast<int64_t>(indices[at]);
    if (index < 0 || index >= rows) refuse("index {} at position {} is not in [0, {})", index, at, rows);
    return index;
}

}  // namespace

template <>
void run(const Embedding&, const Frame& frame) {
    const Array &indices = frame.in(0), &table = frame.in(1);
    const int64_t rows = frame.shape(1)[0], width = frame.shape(1)[1];
    for (int64_t i = 0; i < indices.elements(); ++i) {
        const int64_t row = checked_index(indices, i, rows);
        for (int64_t d = 0; d < width; ++d) frame.out()[i * width + d] = table[row * width + d];
    }
}

template <>
void run(const EmbeddingBackward& op, const Frame& frame) {
    const Array &indices = frame.in(0), &diff_dst = frame.in(1);
    const int64_t rows = op.table[0], width = op.table[1];
    for (int64_t i = 0; i < indices.elements(); ++i) {
        const int64_t row = checked_index(indices, i, rows);
        for (int64_t d = 0; d < width; ++d) frame.out()[row * width + d] += diff_dst[i * width + d];
    }
}

}  // namespace enmesh::reference
