#include "accel/mixed/list_schedule.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <set>

#include "enmesh/accel/report/report.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::mixed {
namespace {

using Needs = std::map<int64_t, std::vector<int64_t>>;

class Planner {
  public:
    Planner(std::span<const Task> tasks, const Needs& needs) : tasks_(tasks), needs_(needs) {
        order_.resize(tasks.size());
        std::iota(order_.begin(), order_.end(), size_t{0});
        std::stable_sort(order_.begin(), order_.end(),
                         [&](size_t a, size_t b) { return tasks_[a].position < tasks_[b].position; });
        for (size_t i = 0; i < order_.size(); ++i) last_at_[task(i).position] = i;
        for (size_t i = 0; i < order_.size(); ++i) before_.push_back(find_before(i));
        ends_.resize(tasks.size());
        for (const Task& one : tasks) engines_ = std::max(engines_, one.engine + 1);
        while (first_plain_ < order_.size() && task(first_plain_).update) ++first_plain_;
    }

    Placement run() {
        Placement placement{std::vector<int64_t>(tasks_.size()), 0};
        std::vector<int64_t> free(engines_, 0);
        for (size_t done = 0; done < tasks_.size(); ++done) {
            size_t best = tasks_.size();
            int64_t best_start = std::numeric_limits<int64_t>::max();
            for (size_t i = first_open_; i < order_.size(); ++i) {
                if (ends_[i]) continue;
                const std::optional<int64_t> ready = ready_at(i);
                if (!ready) continue;
                const int64_t start = std::max(*ready, free[task(i).engine]);
                if (start < best_start) best = i, best_start = start;
            }
            ENMESH_ASSERT(best < tasks_.size());
            const int64_t end = counted_sum(best_start, 1, task(best).cycles);
            ends_[best] = free[task(best).engine] = end;
            placement.starts[order_[best]] = best_start;
            placement.cycles = std::max(placement.cycles, end);
            if (!task(best).update) last_plain_end_ = std::max(last_plain_end_, end);
            while (first_open_ < ends_.size() && ends_[first_open_]) ++first_open_;
            while (first_plain_ < ends_.size() && (ends_[first_plain_] || task(first_plain_).update))
                ++first_plain_;
        }
        return placement;
    }

  private:
    const Task& task(size_t i) const { return tasks_[order_[i]]; }

    /// The tasks that task `i` waits for.
    std::vector<size_t> find_before(size_t i) const {
        std::vector<size_t> before;
        if (i > 0 && (needs_.empty() || task(i - 1).position == task(i).position)) before.push_back(i - 1);
        if (needs_.empty()) return before;
        std::set<int64_t> seen;
        add_needs(task(i).position, i, seen, before);
        return before;
    }

    void add_needs(int64_t position, size_t of, std::set<int64_t>& seen, std::vector<size_t>& before) const {
        const auto listed = needs_.find(position);
        if (listed == needs_.end()) return;
        for (const int64_t need : listed->second) {
            if (!seen.insert(need).second) continue;
            const auto at = last_at_.find(need);
            if (at == last_at_.end())
                add_needs(need, of, seen, before);
            else if (at->second < of)
                before.push_back(at->second);
        }
    }

    /// Nothing while one of the tasks that it waits for has no place yet.
    std::optional<int64_t> ready_at(size_t i) const {
        if (task(i).update && first_plain_ < i) return std::nullopt;
        int64_t ready = task(i).update ? last_plain_end_ : 0;
        for (const size_t j : before_[i]) {
            if (!ends_[j]) return std::nullopt;
            ready = std::max(ready, *ends_[j]);
        }
        return ready;
    }

    std::span<const Task> tasks_;
    const Needs& needs_;
    std::vector<size_t> order_;          ///< of the tasks, in the step's order
    std::map<int64_t, size_t> last_at_;  ///< the last task of a position
    std::vector<std::vector<size_t>> before_;
    std::vector<std::optional<int64_t>> ends_;
    size_t engines_ = 0;
    size_t first_open_ = 0;   ///< before it every task has its place
    size_t first_plain_ = 0;  ///< before it every task that is no update has its place
    int64_t last_plain_end_ = 0;
};

}  // namespace

Placement list_schedule(std::span<const Task> tasks, const Needs& needs) {
    return Planner(tasks, needs).run();
}

}  // namespace enmesh::accel::mixed
