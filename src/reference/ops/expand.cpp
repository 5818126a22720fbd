#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Expand& op, const Frame& frame) {
    for_each_strided(op.shape, broadcast_strides(frame.shape(0), op.shape),
                     [&](int64_t i, int64_t from) { frame.out()[i] = frame.in(0)[from]; });
}

}  // namespace enmesh::reference
