#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <numeric>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "sparsity/permute/permutation_search.hpp"

namespace enmesh::permutation {
namespace {

/// What every set of m columns keeps as a group, by its bit mask; empty if the deadline passed.
std::vector<double> sums_of_sets(const Columns& columns, int64_t rows, Pattern pattern,
                                 const Deadline& deadline, const std::vector<uint32_t>& sets) {
    std::vector<double> sums(size_t{1} << columns.size());
    std::atomic<bool> late = false;
    parallel_for(static_cast<int64_t>(sets.size()), 1 + (int64_t{1} << 18) / rows,
                 [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end && !late; ++i) {
                         const float* members[Pattern::max_m];
                         int count = 0;
                         for (uint32_t rest = sets[i]; rest != 0; rest &= rest - 1)
                             members[count++] = columns[std::countr_zero(rest)];
                         sums[sets[i]] = kernels().group_sum(members, pattern, rows);
                         if (deadline.over()) late = true;
                     }
                 });
    if (late) sums.clear();
    return sums;
}

}  // namespace

bool best_arrangement(const Columns& columns, int64_t rows, Pattern pattern, const Deadline& deadline,
                      std::vector<int32_t>& order) {
    const auto count = static_cast<int>(columns.size());
    ENMESH_ASSERT(count <= 16 && count % pattern.m == 0);
    const uint32_t everything = (uint32_t{1} << count) - 1;
    std::vector<uint32_t> sets;
    std::array<std::vector<uint32_t>, 16> sets_from;  // by lowest column
    for (uint32_t set = 1; set <= everything; ++set) {
        if (std::popcount(set) != pattern.m) continue;
        sets.push_back(set);
        sets_from[std::countr_zero(set)].push_back(set);
    }
    const std::vector<double> sums = sums_of_sets(columns, rows, pattern, deadline, sets);
    if (sums.empty()) return false;

    // best[used] is the most that the columns in `used` keep; the group of the lowest of them is tried in
    // every way.
    std::vector<double> best(sums.size(), -1);
    std::vector<uint32_t> choice(sums.size());
    best[0] = 0;
    for (uint32_t used = 1; used <= everything; ++used) {
        if (std::popcount(used) % pattern.m != 0) continue;
        for (const uint32_t set : sets_from[std::countr_zero(used)]) {
            if ((set & ~used) != 0) continue;
            const double kept = sums[set] + best[used ^ set];
            if (kept > best[used]) {
                best[used] = kept;
                choice[used] = set;
            }
        }
    }
    order.clear();
    for (uint32_t left = everything; left != 0; left ^= choice[left]) {
        for (uint32_t set = choice[left]; set != 0; set &= set - 1) order.push_back(std::countr_zero(set));
    }
    return true;
}

}  // namespace enmesh::permutation
