#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Transpose& op, const Frame& frame) {
    const Shape& src = frame.shape(0);
    const std::vector<int64_t> from = broadcast_strides(src, src);
    std::vector<int64_t> strides;
    for (const int64_t axis : op.order) strides.push_back(from[static_cast<size_t>(axis)]);
    for_each_strided(frame.out().type.shape, strides,
                     [&](int64_t i, int64_t offset) { frame.out()[i] = frame.in(0)[offset]; });
}

}  // namespace enmesh::reference
