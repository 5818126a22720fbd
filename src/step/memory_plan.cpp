#include "enmesh/step/memory_plan.hpp"

#include <algorithm>
#include <numeric>

#include "enmesh/base/arithmetic.hpp"

namespace enmesh {

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes, int64_t alignment) {
    const auto padded = [&](int64_t bytes) { return round_up(bytes, alignment); };
    std::vector<size_t> order(lifetimes.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

    MemoryPlan plan;
    plan.offsets.assign(lifetimes.size(), 0);
    std::vector<size_t> placed;  // by offset
    for (const size_t item : order) {
        const Lifetime& life = lifetimes[item];
        const int64_t bytes = padded(life.bytes);
        int64_t offset = 0;
        for (const size_t other : placed) {
            const Lifetime& taken = lifetimes[other];
            if (taken.last < life.first || life.last < taken.first) continue;
            if (offset + bytes <= plan.offsets[other]) break;
            offset = std::max(offset, plan.offsets[other] + padded(taken.bytes));
        }
        plan.offsets[item] = offset;
        plan.bytes = std::max(plan.bytes, offset + bytes);
        const auto place =
            std::upper_bound(placed.begin(), placed.end(), offset,
                             [&](int64_t value, size_t index) { return value < plan.offsets[index]; });
        placed.insert(place, item);
    }

    int last = 0;
    for (const Lifetime& life : lifetimes) last = std::max(last, life.last);
    std::vector<int64_t> change(static_cast<size_t>(last) + 2, 0);
    for (const Lifetime& life : lifetimes) {
        change[static_cast<size_t>(life.first)] += padded(life.bytes);
        change[static_cast<size_t>(life.last) + 1] -= padded(life.bytes);
    }
    int64_t alive = 0;
    for (const int64_t delta : change) {
        alive += delta;
        plan.lower_bound = std::max(plan.lower_bound, alive);
    }
    return plan;
}

}  // namespace enmesh
