#include <algorithm>

#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Pad& op, const Frame& frame) {
    const Shape& dst = frame.out().type.shape;
    const std::vector<int64_t> strides = broadcast_strides(dst, dst);
    std::fill(frame.out().data.begin(), frame.out().data.end(), op.value);
    int64_t origin = 0;
    // An axis of extent 1 has no border and stride 0 in broadcast_strides.
    for (size_t axis = 0; axis < strides.size(); ++axis) origin += op.before[axis] * strides[axis];
    for_each_strided(frame.shape(0), strides,
                     [&](int64_t i, int64_t to) { frame.out()[origin + to] = frame.in(0)[i]; });
}

}  // namespace enmesh::reference
