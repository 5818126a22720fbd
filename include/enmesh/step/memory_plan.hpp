#pragma once

#include <cstdint>
#include <vector>

namespace enmesh {

/// One buffer to place: alive from `first` to `last` inclusive (positions in the execution order).
struct Lifetime {
    int64_t bytes = 0;
    int first = 0;
    int last = 0;
};

struct MemoryPlan {
    std::vector<int64_t> offsets;  ///< one per lifetime, multiples of `alignment`
    int64_t bytes = 0;             ///< of the whole arena
    int64_t lower_bound = 0;       ///< the most bytes alive at any one position: no plan can be smaller
};

/// Places buffers so that no two alive at once overlap: largest first, each at the lowest offset that is free
/// during its whole life (greedy by size; Pisarchyk, Lee 2020).
MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes, int64_t alignment = 64);

}  // namespace enmesh
