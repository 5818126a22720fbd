#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Reduce& op, const Frame& frame) {
    const Shape& src = frame.shape(0);
    Shape kept = src;
    for (const int64_t axis : op.axes) kept[static_cast<int>(axis)] = 1;
    for_each_strided(src, broadcast_strides(kept, src),
                     [&](int64_t i, int64_t to) { frame.out()[to] += frame.in(0)[i]; });
    if (!op.mean) return;
    const double count = static_cast<double>(src.elements()) / static_cast<double>(kept.elements());
    for (double& sum : frame.out().data) sum /= count;
}

}  // namespace enmesh::reference
