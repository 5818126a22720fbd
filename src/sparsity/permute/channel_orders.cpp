#include "sparsity/permute/channel_orders.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

/// Axes with more runs are fixed: each demand on them would cost too much.
constexpr size_t most_runs = 1024;

/// Adds a run, as part of the last one where both are fixed for the same reason.
void append(ChannelOrder& to, ChannelRun run) {
    if (run.inner == 0) return;
    if (run.fixed() && !to.empty() && to.back().space == run.space) {
        to.back().inner += run.inner;
    } else {
        to.push_back(run);
    }
}

}  // namespace

int ChannelOrders::reason_id(const std::string& reason) {
    const auto [found, is_new] = reason_ids_.emplace(reason, static_cast<int>(reasons_.size()));
    if (is_new) reasons_.push_back(reason);
    return found->second;
}

ChannelOrder ChannelOrders::fixed(int64_t extent, const std::string& reason) {
    if (extent == 0) return {};
    return {{-reason_id(reason) - 1, extent}};
}

ChannelOrder ChannelOrders::free(int64_t extent) {
    if (extent <= 1) return fixed(extent, "a single channel");
    spaces_.push_back({extent, std::nullopt});
    return {{static_cast<int>(spaces_.size()) - 1, 1}};
}

int64_t ChannelOrders::extent(const ChannelOrder& order) const {
    int64_t sum = 0;
    for (const ChannelRun run : order) sum += extent(run);
    return sum;
}

void ChannelOrders::append_resolved(ChannelRun run, int64_t times, ChannelOrder& to) const {
    if (run.fixed()) {
        append(to, {run.space, run.inner * times});
        return;
    }
    Space& space = spaces_[static_cast<size_t>(run.space)];
    if (!space.bound.has_value()) {
        append(to, {run.space, run.inner * times});
        return;
    }
    const auto divided = [&](ChannelRun part) {
        return !part.fixed() && spaces_[static_cast<size_t>(part.space)].bound.has_value();
    };
    if (std::any_of(space.bound->begin(), space.bound->end(), divided)) {
        ChannelOrder flat;
        for (const ChannelRun part : *space.bound) append_resolved(part, 1, flat);
        space.bound = std::move(flat);
    }
    for (const ChannelRun part : *space.bound) append(to, {part.space, part.inner * run.inner * times});
}

ChannelOrder ChannelOrders::resolved(const ChannelOrder& order) const {
    ChannelOrder result;
    for (const ChannelRun run : order) append_resolved(run, 1, result);
    return result;
}

bool ChannelOrders::all_fixed(const ChannelOrder& order) const {
    const ChannelOrder runs = resolved(order);
    return std::all_of(runs.begin(), runs.end(), [](ChannelRun run) { return run.fixed(); });
}

std::string ChannelOrders::reason(const ChannelOrder& order) const {
    for (const ChannelRun run : resolved(order)) {
        if (run.fixed()) return reason_of(run);
    }
    return "";
}

void ChannelOrders::bind(int space, ChannelOrder order) {
    ENMESH_ASSERT(!spaces_[static_cast<size_t>(space)].bound.has_value() && extent(order) == channels(space));
    spaces_[static_cast<size_t>(space)].bound = std::move(order);
}

void ChannelOrders::fix(const ChannelOrder& order, const std::string& reason) {
    for (const ChannelRun run : resolved(order)) {
        // A space may stand in the order twice.
        if (!run.fixed() && !spaces_[static_cast<size_t>(run.space)].bound.has_value())
            bind(run.space, fixed(channels(run.space), reason));
    }
}

/// Makes `at` (elements into the run) the end of a run; false: it was fixed instead, or was so already.
bool ChannelOrders::divide(ChannelRun run, int64_t at, const std::string& reason) {
    if (run.fixed()) return false;
    if (at % run.inner != 0) {
        fix({run}, reason);
        return false;
    }
    const int64_t first = at / run.inner;
    ChannelOrder parts = free(first);
    for (const ChannelRun part : free(channels(run.space) - first)) parts.push_back(part);
    bind(run.space, std::move(parts));
    return true;
}

bool ChannelOrders::meet(ChannelRun p, ChannelRun q, const std::string& reason) {
    if (p.space == q.space || (p.fixed() && q.fixed())) return false;
    if (p.fixed()) {
        bind(q.space, fixed(channels(q.space), reason_of(p)));
    } else if (q.fixed()) {
        bind(p.space, fixed(channels(p.space), reason_of(q)));
    } else if (q.inner % p.inner == 0) {
        bind(p.space, {{q.space, q.inner / p.inner}});
    } else if (p.inner % q.inner == 0) {
        bind(q.space, {{p.space, p.inner / q.inner}});
    } else {
        fix({p, q}, reason);
    }
    return true;
}

void ChannelOrders::unify(const ChannelOrder& a, const ChannelOrder& b, const std::string& reason) {
    ENMESH_ASSERT(extent(a) == extent(b));
    ChannelOrder left = resolved(a), right = resolved(b);
    size_t i = 0, j = 0;
    // What is still to be compared, after a space in it may have been bound.
    const auto resolve_rest = [&] {
        left = resolved({left.begin() + static_cast<std::ptrdiff_t>(i), left.end()});
        right = resolved({right.begin() + static_cast<std::ptrdiff_t>(j), right.end()});
        i = j = 0;
    };
    // Every turn either passes a run or binds a space, of which there is a finite number.
    while (i < left.size()) {
        ChannelRun &p = left[i], &q = right[j];
        const int64_t common = std::min(extent(p), extent(q));
        if (extent(p) == extent(q)) {
            const ChannelRun first = p, second = q;
            ++i;
            ++j;
            if (meet(first, second, reason)) resolve_rest();
            continue;
        }
        const bool left_longer = extent(p) > common;
        const ChannelRun longer = left_longer ? p : q;
        if (longer.fixed()) {
            // The shorter run meets the part that it covers.
            meet(left_longer ? q : p, {longer.space, common}, reason);
            (left_longer ? p : q).inner -= common;
            ++(left_longer ? j : i);
        } else {
            divide(longer, common, reason);
        }
        resolve_rest();
    }
}

ChannelOrder ChannelOrders::slice(const ChannelOrder& order, int64_t begin, int64_t end,
                                  const std::string& reason) {
    ChannelOrder result;
    ChannelOrder runs = resolved(order);
    int64_t at = 0;
    for (size_t i = 0; i < runs.size() && at < end;) {
        const ChannelRun run = runs[i];
        const int64_t length = extent(run);
        const int64_t from = std::max(begin - at, int64_t{0}), to = std::min(end - at, length);
        const bool inside = from < length;
        if (!run.fixed() && inside && (from > 0 || to < length)) {
            // Dividing may change the runs before this one too, but never where they begin.
            divide(run, from > 0 ? from : to, reason);
            runs = resolved(runs);
            result.clear();
            at = 0;
            i = 0;
            continue;
        }
        if (inside) append(result, run.fixed() ? ChannelRun{run.space, to - from} : run);
        at += length;
        ++i;
    }
    return result;
}

ChannelOrder ChannelOrders::concatenated(const std::vector<ChannelOrder>& orders, const std::string& reason) {
    ChannelOrder result;
    for (const ChannelOrder& order : orders) {
        for (const ChannelRun run : resolved(order)) append(result, run);
    }
    if (result.size() <= most_runs) return result;
    fix(result, reason);
    return resolved(result);
}

ChannelOrder ChannelOrders::merged(const std::vector<ChannelOrder>& axes, const std::string& reason) {
    ChannelOrder result;
    int64_t outer = 1;
    for (const ChannelOrder& axis : axes) {
        const int64_t inner = extent(axis);
        if (outer == 1) {
            result = resolved(axis);
            outer = inner;
            continue;
        }
        if (inner == 1) continue;
        result = resolved(result);
        const ChannelOrder runs = resolved(axis);
        if (all_fixed(result) && !all_fixed(runs) &&
            static_cast<size_t>(outer) <= most_runs / std::max<size_t>(runs.size(), 1)) {
            result.clear();
            for (int64_t i = 0; i < outer; ++i) result.insert(result.end(), runs.begin(), runs.end());
        } else {
            fix(runs, reason);
            result = resolved(result);
            for (ChannelRun& run : result) run.inner *= inner;
        }
        outer *= inner;
    }
    return result;
}

std::pair<ChannelOrder, ChannelOrder> ChannelOrders::split_in_two(const ChannelOrder& order, int64_t outer,
                                                                  int64_t inner, const std::string& reason) {
    ChannelOrder runs = resolved(order);
    const bool whole =
        std::all_of(runs.begin(), runs.end(), [&](ChannelRun run) { return run.inner % inner == 0; });
    if (whole) {
        const std::string why = this->reason(runs);
        for (ChannelRun& run : runs) run.inner /= inner;
        return {runs, fixed(inner, why.empty() ? "positions of a map" : why)};
    }
    if (all_fixed(runs) || static_cast<size_t>(outer) > most_runs) {
        fix(runs, reason);
        const std::string why = this->reason(runs);
        return {fixed(outer, why), fixed(inner, why)};
    }
    const ChannelOrder first = slice(runs, 0, inner, reason);
    for (int64_t i = 1; i < outer; ++i) unify(first, slice(runs, i * inner, (i + 1) * inner, reason), reason);
    return {fixed(outer, reason), resolved(first)};
}

std::vector<ChannelOrder> ChannelOrders::split(const ChannelOrder& order, const std::vector<int64_t>& extents,
                                               const std::string& reason) {
    std::vector<ChannelOrder> axes;
    ChannelOrder rest = order;
    int64_t left = extent(order);
    for (size_t i = 0; i + 1 < extents.size(); ++i) {
        left /= extents[i];
        if (extents[i] == 1) {
            axes.push_back(fixed(1, "a single channel"));
        } else if (left == 1) {
            axes.push_back(rest);
            rest = fixed(1, "a single channel");
        } else {
            auto [outer, inner] = split_in_two(rest, extents[i], left, reason);
            axes.push_back(std::move(outer));
            rest = std::move(inner);
        }
    }
    axes.push_back(rest);
    return axes;
}

}  // namespace enmesh
