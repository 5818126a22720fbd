#include "sparsity/permute/permutation_search.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <tuple>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::permutation {
namespace {

/// Swaps whose gain is below this share of the two slots' sums drown in single-precision rounding.
constexpr float relative_noise = 2e-6F;

// Annealing, found by trial on Gaussian and on per-channel scaled matrices of 64 to 2048 channels: the share
// of all pairs that a phase draws from, and the first and last temperature in units of the dearest of those
// pairs.
constexpr double drawn_share = 0.02;
constexpr double hot = 0.3, hot_in_few_phases = 0.1, cold = 0.01;
constexpr int few_phases = 30;

/// As many items as are worth another thread, if one takes that many operations.
int64_t grain(int64_t operations_per_item) {
    return 1 + (int64_t{1} << 21) / std::max<int64_t>(1, operations_per_item);
}

}  // namespace

SwapSearch::SwapSearch(Columns columns, int64_t rows, Pattern pattern, const Deadline& deadline)
    : columns_(std::move(columns)),
      rows_(rows),
      pattern_(pattern),
      deadline_(deadline),
      kernels_(kernels()),
      slots_(static_cast<int32_t>(columns_.size())),
      groups_(slots_ / pattern.m),
      order_(columns_.size()),
      threshold_data_(columns_.size() * static_cast<size_t>(rows) * sizeof(float)),
      worth_(columns_.size() * columns_.size()),
      worth_to_(columns_.size() * columns_.size()),
      own_(columns_.size()),
      best_(static_cast<size_t>(groups_)) {
    ENMESH_ASSERT(slots_ % pattern.m == 0 && groups_ >= 2 && rows % row_block == 0);
    std::iota(order_.begin(), order_.end(), 0);
    float* const base = threshold_data_.as<float>().data();
    for (int64_t slot = 0; slot < slots_; ++slot) thresholds_.push_back(base + slot * rows);
}

SwapSearch::Groups SwapSearch::all_groups() const {
    Groups groups(static_cast<size_t>(groups_));
    std::iota(groups.begin(), groups.end(), 0);
    return groups;
}

double SwapSearch::kept() const {
    std::vector<double> sums(static_cast<size_t>(groups_));
    parallel_for(groups_, grain(rows_ * pattern_.m * pattern_.n), [&](int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) {
            const float* members[Pattern::max_m];
            for (int i = 0; i < pattern_.m; ++i) members[i] = columns_[order_[group * pattern_.m + i]];
            sums[group] = kernels_.group_sum(members, pattern_, rows_);
        }
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

void SwapSearch::refresh_thresholds(int32_t group) {
    const float* members[Pattern::max_m];
    float* results[Pattern::max_m];
    for (int i = 0; i < pattern_.m; ++i) {
        members[i] = columns_[order_[group * pattern_.m + i]];
        results[i] = thresholds_[group * pattern_.m + i];
    }
    kernels_.thresholds(members, pattern_, rows_, results);
}

/// False if the deadline passed on the way: worth_ is then not to be used.
bool SwapSearch::refresh_worth(const Groups& groups) {
    std::vector<int32_t> slots;
    std::vector<const float*> sources;
    std::vector<float*> sums;
    for (const int32_t group : groups) {
        for (int32_t slot = group * pattern_.m; slot < (group + 1) * pattern_.m; ++slot) {
            slots.push_back(slot);
            sources.push_back(thresholds_[slot]);
            sums.push_back(worth_.data() + static_cast<size_t>(slot) * columns_.size());
        }
    }
    constexpr int64_t tile = 32;
    const auto count = static_cast<int64_t>(slots.size());
    std::atomic<bool> late = false;
    parallel_for(
        (count + tile - 1) / tile, grain(tile * slots_ * rows_ / 8), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin * tile; i < std::min(count, end * tile); i += tile) {
                if (deadline_.over()) {
                    late = true;
                    return;
                }
                const int64_t width = std::min(tile, count - i);
                kernels_.max_sums(sources.data() + i, width, columns_.data(), slots_, rows_, sums.data() + i);
                for (size_t column = 0; column < columns_.size(); ++column) {
                    float* const to = worth_to_.data() + column * columns_.size();
                    for (int64_t j = i; j < i + width; ++j) to[slots[j]] = sums[j][column];
                }
            }
        });
    return !late;
}

bool SwapSearch::refresh(const Groups& groups) {
    parallel_for(static_cast<int64_t>(groups.size()), grain(rows_ * pattern_.m * pattern_.n),
                 [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) refresh_thresholds(groups[i]);
                 });
    if (!refresh_worth(groups)) return false;
    for (const int32_t group : groups) {
        for (int32_t slot = group * pattern_.m; slot < (group + 1) * pattern_.m; ++slot) {
            own_[slot] = worth_[static_cast<size_t>(slot) * columns_.size() + order_[slot]];
        }
    }
    return true;
}

/// Improves `best` by the swaps of slot `a` with the slots of a group.
void SwapSearch::offer(int32_t a, int32_t group, Swap& best) const {
    const float* const worth_a = worth_.data() + static_cast<size_t>(a) * columns_.size();
    const float* const worth_to_a = worth_to_.data() + static_cast<size_t>(order_[a]) * columns_.size();
    for (int32_t b = group * pattern_.m; b < (group + 1) * pattern_.m; ++b) {
        const float gain = (worth_a[order_[b]] - own_[a]) + (worth_to_a[b] - own_[b]);
        if (gain > best.gain && gain > relative_noise * (own_[a] + own_[b])) best = {gain, a, b};
    }
}

SwapSearch::Swap SwapSearch::best_between(int32_t group, int32_t other) const {
    Swap best;
    for (int32_t a = group * pattern_.m; a < (group + 1) * pattern_.m; ++a) offer(a, other, best);
    return best;
}

SwapSearch::Swap SwapSearch::best_of(int32_t group) const {
    Swap best;
    for (int32_t a = group * pattern_.m; a < (group + 1) * pattern_.m; ++a) {
        for (int32_t other = 0; other < groups_; ++other) {
            if (other != group) offer(a, other, best);
        }
    }
    return best;
}

void SwapSearch::refresh_best(const Groups& changed) {
    std::vector<char> is_changed(static_cast<size_t>(groups_));
    for (const int32_t group : changed) is_changed[group] = 1;
    parallel_for(groups_, grain(static_cast<int64_t>(slots_) * pattern_.m), [&](int64_t begin, int64_t end) {
        for (auto group = static_cast<int32_t>(begin); group < end; ++group) {
            Swap& best = best_[group];
            if (is_changed[group] != 0 || (best.b >= 0 && is_changed[group_of(best.b)] != 0)) {
                best = best_of(group);
                continue;
            }
            for (const int32_t other : changed) {
                const Swap found = best_between(group, other);
                if (found.gain > best.gain) best = found;
            }
        }
    });
}

/// Applies the groups' best swaps in descending order of gain, each group at most once; returns the groups
/// that changed.
SwapSearch::Groups SwapSearch::apply_disjoint() {
    std::vector<Swap> swaps;
    for (const Swap& swap : best_) {
        if (swap.b >= 0) swaps.push_back(swap);
    }
    std::sort(swaps.begin(), swaps.end(), [](const Swap& x, const Swap& y) {
        return x.gain != y.gain ? x.gain > y.gain : std::tie(x.a, x.b) < std::tie(y.a, y.b);
    });
    Groups changed;
    std::vector<char> touched(static_cast<size_t>(groups_));
    for (const Swap& swap : swaps) {
        const int32_t first = group_of(swap.a), second = group_of(swap.b);
        if (touched[first] != 0 || touched[second] != 0) continue;
        touched[first] = touched[second] = 1;
        std::swap(order_[swap.a], order_[swap.b]);
        changed.push_back(first);
        changed.push_back(second);
    }
    return changed;
}

void SwapSearch::descend() {
    for (Groups changed = all_groups(); !changed.empty(); changed = apply_disjoint()) {
        if (!refresh(changed)) return;
        refresh_best(changed);
    }
}

/// visit(gain, a, b) for every step-th pair of slots of different groups.
template <typename Visit>
void SwapSearch::for_each_pair(int64_t step, const Visit& visit) const {
    int64_t skip = 0;
    for (int32_t a = 0; a < slots_; ++a) {
        const float* const worth_a = worth_.data() + static_cast<size_t>(a) * columns_.size();
        const float* const worth_to_a = worth_to_.data() + static_cast<size_t>(order_[a]) * columns_.size();
        int64_t b = (group_of(a) + 1) * static_cast<int64_t>(pattern_.m) + skip;
        for (; b < slots_; b += step) {
            visit((worth_a[order_[b]] - own_[a]) + (worth_to_a[b] - own_[b]), a, static_cast<int32_t>(b));
        }
        skip = b - slots_;
    }
}

/// About drawn_share of all pairs: those above a gain that is estimated from a sample. The dearest of them
/// comes first.
std::vector<SwapSearch::Swap> SwapSearch::cheapest_pairs() const {
    constexpr int64_t sample_size = 1 << 14;
    const int64_t all = static_cast<int64_t>(slots_) * (slots_ - pattern_.m) / 2;
    std::vector<float> sample;
    for_each_pair(std::max<int64_t>(1, all / sample_size),
                  [&](float gain, int32_t, int32_t) { sample.push_back(gain); });
    const auto rank = std::clamp<size_t>(
        static_cast<size_t>(drawn_share * static_cast<double>(sample.size())), 15, sample.size() - 1);
    std::nth_element(sample.begin(), sample.begin() + static_cast<int64_t>(rank), sample.end(),
                     std::greater<>());
    const float least = sample[rank];
    std::vector<Swap> pairs;
    for_each_pair(1, [&](float gain, int32_t a, int32_t b) {
        if (gain >= least) pairs.push_back({gain, a, b});
    });
    const auto dearest = std::min_element(pairs.begin(), pairs.end(),
                                          [](const Swap& x, const Swap& y) { return x.gain < y.gain; });
    std::swap(pairs.front(), *dearest);
    return pairs;
}

/// Swaps the pair with Metropolis' probability; returns by how much `kept` changed.
double SwapSearch::propose(const Swap& pair, double temperature, Random& random) {
    const auto [listed, a, b] = pair;
    const float swapped =
        kernels_.pair_sum(thresholds_[a], columns_[order_[b]], thresholds_[b], columns_[order_[a]], rows_);
    const double change =
        static_cast<double>(swapped) - (static_cast<double>(own_[a]) + static_cast<double>(own_[b]));
    if (change < 0 && !(static_cast<double>(random.uniform()) < std::exp(change / temperature))) return 0;
    std::swap(order_[a], order_[b]);
    for (const int32_t group : {group_of(a), group_of(b)}) {
        refresh_thresholds(group);
        for (int32_t slot = group * pattern_.m; slot < (group + 1) * pattern_.m; ++slot) {
            float* const own = &own_[slot];
            kernels_.max_sums(&thresholds_[slot], 1, &columns_[order_[slot]], 1, rows_, &own);
        }
    }
    return change;
}

void SwapSearch::anneal(int phases, int64_t proposals, Random& random) {
    double unit = 0, gained = 0, most_gained = 0;
    std::vector<int32_t> best_order = order_;
    const double first = phases < few_phases ? hot_in_few_phases : hot;
    Groups changed = all_groups();
    for (int phase = 0; phase < phases; ++phase) {
        if (!refresh(changed)) break;
        const std::vector<Swap> pairs = cheapest_pairs();
        if (phase == 0) unit = std::max(1e-12, -static_cast<double>(pairs.front().gain));
        const double progress = static_cast<double>(phase) / std::max(1, phases - 1);
        const double temperature = unit * first * std::pow(cold / first, progress);
        std::vector<char> touched(static_cast<size_t>(groups_));
        for (int64_t i = 0; i < proposals; ++i) {
            const Swap& pair = pairs[random.below(pairs.size())];
            const int32_t before = order_[pair.a];
            gained += propose(pair, temperature, random);
            if (order_[pair.a] == before) continue;
            touched[group_of(pair.a)] = touched[group_of(pair.b)] = 1;
            if (gained > most_gained) {
                most_gained = gained;
                best_order = order_;
            }
            if (deadline_.over()) break;
        }
        changed.clear();
        for (int32_t group = 0; group < groups_; ++group) {
            if (touched[group] != 0) changed.push_back(group);
        }
    }
    order_ = best_order;
}

}  // namespace enmesh::permutation
