#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Multiply&, const Frame& frame) {
    const Shape& dst = frame.out().type.shape;
    for_each_strided(dst, broadcast_strides(frame.shape(0), dst),
                     [&](int64_t i, int64_t from) { frame.out()[i] = frame.in(0)[from]; });
    for_each_strided(dst, broadcast_strides(frame.shape(1), dst),
                     [&](int64_t i, int64_t from) { frame.out()[i] *= frame.in(1)[from]; });
}

template <>
void run(const Divide&, const Frame& frame) {
    const Shape& dst = frame.out().type.shape;
    for_each_strided(dst, broadcast_strides(frame.shape(0), dst),
                     [&](int64_t i, int64_t from) { frame.out()[i] = frame.in(0)[from]; });
    for_each_strided(dst, broadcast_strides(frame.shape(1), dst),
                     [&](int64_t i, int64_t from) { frame.out()[i] /= frame.in(1)[from]; });
}

template <>
void run(const Scale& op, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i) frame.out()[i] = op.factor * frame.in(0)[i];
}

}  // namespace enmesh::reference
