#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace enmesh::accel::mixed {

/// A piece of a step on one of its engines.
struct Task {
    int64_t position = 0;  ///< in the step's order; tasks of one position run in the order of the list
    size_t engine = 0;
    int64_t cycles = 0;
    bool update = false;  ///< of the weight update: waits for all that stands before it and is none
};

struct Placement {
    std::vector<int64_t> starts;  ///< of each task
    int64_t cycles = 0;           ///< until the last one ends
};

/// Each engine runs one task at a time; a task starts when its engine is free and the positions that `needs`
/// lists for its own are done (a position without a task passes its needs on; a position that is not listed
/// needs nothing). Of the tasks that could start, the one that can start first goes first, and of those the
/// first in the step's order. Never longer than the tasks one after another. With an empty `needs` every task
/// waits for what stands before it. Refuses more cycles than can be counted.
Placement list_schedule(std::span<const Task> tasks, const std::map<int64_t, std::vector<int64_t>>& needs);

}  // namespace enmesh::accel::mixed
