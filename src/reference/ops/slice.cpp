#include "reference/run.hpp"

namespace enmesh::reference {

namespace {

/// visit(offset in the sliced tensor, offset in the slice).
template <typename Visit>
void for_each_sliced(const Slice& slice, const Shape& src, const Visit& visit) {
    const auto axis = static_cast<int>(slice.axis);
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < axis; ++i) outer *= src[i];
    for (int i = axis + 1; i < src.rank(); ++i) inner *= src[i];
    int64_t to = 0;
    for (int64_t o = 0; o < outer; ++o) {
        for (int64_t x = slice.begin; x < slice.end; x += slice.step) {
            for (int64_t i = 0; i < inner; ++i) visit((o * src[axis] + x) * inner + i, to++);
        }
    }
}

}  // namespace

template <>
void run(const Slice& op, const Frame& frame) {
    for_each_sliced(op, frame.shape(0),
                    [&](int64_t whole, int64_t part) { frame.out()[part] = frame.in(0)[whole]; });
}

template <>
void run(const SliceBackward& op, const Frame& frame) {
    for_each_sliced(op.slice, op.src,
                    [&](int64_t whole, int64_t part) { frame.out()[whole] = frame.in(0)[part]; });
}

}  // namespace enmesh::reference
