#pragma once

#include "enmesh/base/random.hpp"

namespace enmesh::accel {

/// A whole number from `low` to `high`, both included.
inline int64_t draw(Random& random, int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random.below(static_cast<uint64_t>(high - low + 1)));
}

}  // namespace enmesh::accel
