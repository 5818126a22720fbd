#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const SumExcept& op, const Frame& frame) {
    const Shape& src = frame.shape(0);
    const int axis = static_cast<int>(op.axis < 0 ? op.axis + src.rank() : op.axis);
    int64_t inner = 1;
    for (int i = axis + 1; i < src.rank(); ++i) inner *= src[i];
    for (int64_t i = 0; i < src.elements(); ++i) frame.out()[i / inner % src[axis]] += frame.in(0)[i];
}

template <>
void run(const SumTo& op, const Frame& frame) {
    const Shape& src = frame.shape(0);
    for_each_strided(src, broadcast_strides(op.shape, src),
                     [&](int64_t i, int64_t to) { frame.out()[to] += frame.in(0)[i]; });
}

}  // namespace enmesh::reference
