#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Add&, const Frame& frame) {
    for (size_t input = 0; input < 2; ++input) {
        const Shape& dst = frame.out().type.shape;
        for_each_strided(dst, broadcast_strides(frame.shape(input), dst),
                         [&](int64_t i, int64_t from) { frame.out()[i] += frame.in(input)[from]; });
    }
}

template <>
void run(const Subtract&, const Frame& frame) {
    const Shape& dst = frame.out().type.shape;
    for_each_strided(dst, broadcast_strides(frame.shape(0), dst),
                     [&](int64_t i, int64_t from) { frame.out()[i] = frame.in(0)[from]; });
    for_each_strided(dst, broadcast_strides(frame.shape(1), dst),
                     [&](int64_t i, int64_t from) { frame.out()[i] -= frame.in(1)[from]; });
}

}  // namespace enmesh::reference
