#include "enmesh/accel/sat/sore.hpp"

#include <algorithm>
#include <bit>
#include <deque>
#include <numeric>

#include "accel/common/check_ranges.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

uint32_t magnitude(float rank) { return std::bit_cast<uint32_t>(rank) & 0x7fffffff; }

/// A group and the place of its packed form in the buffer.
template <typename Group>
struct Placed {
    int64_t place;
    Group group;
};

/// The registers in front of the selectors: values come in one after another, whole groups and pieces of
/// tails go out with their last value.
class Aligner {
  public:
    Aligner(Pattern pattern, int64_t k)
        : pattern_(pattern), k_(k), whole_(k / pattern.m), tail_groups_(ceil_div(k % pattern.m, pattern.n)) {}

    int64_t groups_of_line() const { return whole_ + tail_groups_; }

    void take(float rank, Half value) {
        const int64_t line = taken_ / k_, position = taken_ % k_;
        ++taken_;
        const int64_t in_tail = position - whole_ * pattern_.m;
        if (in_tail >= 0) return take_tail(line, in_tail, value);
        const auto member = static_cast<size_t>(position % pattern_.m);
        group_.ranks[member] = rank;
        group_.values[member] = value;
        if (position % pattern_.m == pattern_.m - 1)
            groups.push_back({line * groups_of_line() + position / pattern_.m, group_});
    }

    std::vector<Placed<SoreGroup>> groups;  ///< complete in this cycle
    std::vector<Placed<SorePacked>> tails;

  private:
    void take_tail(int64_t line, int64_t in_tail, Half value) {
        if (in_tail % pattern_.n == 0) {
            tail_ = {};
            tail_.indices.fill(static_cast<uint8_t>(pattern_.m - 1));
        }
        const auto entry = static_cast<size_t>(in_tail % pattern_.n);
        tail_.values[entry] = value;
        tail_.indices[entry] = static_cast<uint8_t>(in_tail);
        if (in_tail % pattern_.n == pattern_.n - 1 || in_tail == k_ % pattern_.m - 1)
            tails.push_back({line * groups_of_line() + whole_ + in_tail / pattern_.n, tail_});
    }

    Pattern pattern_;
    int64_t k_, whole_, tail_groups_, taken_ = 0;
    SoreGroup group_;
    SorePacked tail_;
};

}  // namespace

std::span<const ParameterRange<Sore>> sore_ranges() {
    static constexpr std::array ranges = {
        ParameterRange<Sore>{"groups_per_cycle", &Sore::groups_per_cycle, 1, 1024},
        ParameterRange<Sore>{"latency_cycles", &Sore::latency_cycles, 4, 64},
    };
    return ranges;
}

void check(const Sore& sore) { check_ranges("sore", sore, sore_ranges()); }

int64_t sore_cycles(const Sore& sore, int64_t groups) noexcept {
    if (groups <= 0) return 0;
    return (groups + sore.groups_per_cycle - 1) / sore.groups_per_cycle + sore.latency_cycles;
}

SorePacked sore_select(const SoreGroup& group, Pattern pattern) {
    std::array<uint8_t, Pattern::max_m> order{};
    std::iota(order.begin(), order.end(), uint8_t{0});
    std::stable_sort(order.begin(), order.begin() + pattern.m, [&](uint8_t a, uint8_t b) {
        return magnitude(group.ranks[a]) > magnitude(group.ranks[b]);
    });
    std::sort(order.begin(), order.begin() + pattern.n);
    SorePacked packed;
    for (int e = 0; e < pattern.n; ++e) {
        packed.indices[e] = order[e];
        packed.values[e] = group.values[order[e]];
    }
    return packed;
}

SoreSelector::SoreSelector(const Sore& sore, Pattern pattern)
    : pattern_(pattern), stages_(static_cast<size_t>(sore.latency_cycles)) {}

void SoreSelector::count_beaten(Stage& stage) const {
    for (int i = 0; i < pattern_.m; ++i) {
        int beaten = 0;
        for (int j = 0; j < pattern_.m; ++j) {
            const uint32_t mine = magnitude(stage.group.ranks[i]), other = magnitude(stage.group.ranks[j]);
            beaten += j < i ? other >= mine : other > mine;
        }
        stage.rank[i] = static_cast<uint8_t>(beaten);
    }
}

void SoreSelector::place(Stage& stage) const {
    int kept = 0;
    for (int i = 0; i < pattern_.m; ++i) {
        stage.position[i] = static_cast<uint8_t>(kept);
        kept += stage.rank[i] < pattern_.n;
    }
}

void SoreSelector::compact(Stage& stage) const {
    stage.packed = {};
    for (int i = 0; i < pattern_.m; ++i) {
        if (stage.rank[i] >= pattern_.n) continue;
        stage.packed.values[stage.position[i]] = stage.group.values[i];
        stage.packed.indices[stage.position[i]] = static_cast<uint8_t>(i);
    }
}

std::optional<SorePacked> SoreSelector::clock(const std::optional<SoreGroup>& in) {
    for (size_t s = stages_.size() - 1; s > 0; --s) stages_[s] = stages_[s - 1];
    stages_[0] = {};
    if (in) {
        stages_[0].valid = true;
        stages_[0].group = *in;
    }
    if (stages_[1].valid) count_beaten(stages_[1]);
    if (stages_[2].valid) place(stages_[2]);
    if (stages_[3].valid) compact(stages_[3]);
    const Stage& last = stages_.back();
    return last.valid ? std::optional(last.packed) : std::nullopt;
}

SoreRun run_sore(const Sore& sore, Pattern pattern, std::span<const SoreGroup> groups) {
    check(sore);
    check_pattern(pattern);
    SoreRun run;
    std::vector<SoreSelector> selectors(static_cast<size_t>(sore.groups_per_cycle),
                                        SoreSelector(sore, pattern));
    // What stands in the output registers at the end of a cycle is written to the packed buffer in the next.
    std::vector<SorePacked> standing;
    size_t next = 0;
    while (run.packed.size() < groups.size()) {
        run.packed.insert(run.packed.end(), standing.begin(), standing.end());
        standing.clear();
        for (SoreSelector& selector : selectors) {
            const bool enters = next < groups.size();
            if (auto out = selector.clock(enters ? std::optional(groups[next++]) : std::nullopt))
                standing.push_back(*out);
        }
        ++run.cycles;
    }
    return run;
}

SoreLines run_sore_lines(const Sore& sore, Pattern pattern, int64_t k, std::span<const float> ranks,
                         std::span<const Half> values) {
    check(sore);
    check_pattern(pattern);
    ENMESH_ASSERT(k > 0 && ranks.size() == values.size() && static_cast<int64_t>(values.size()) % k == 0);
    Aligner aligner(pattern, k);
    SoreLines run;
    run.groups = aligner.groups_of_line();
    const int64_t total = static_cast<int64_t>(values.size()) / k * run.groups;
    run.entries.resize(static_cast<size_t>(total * pattern.n));
    run.indices.resize(run.entries.size());
    std::vector<SoreSelector> selectors(static_cast<size_t>(sore.groups_per_cycle),
                                        SoreSelector(sore, pattern));
    // Beside the selectors: the places of their groups, and the tails, one register a cycle.
    std::deque<std::vector<int64_t>> places;
    std::deque<std::vector<Placed<SorePacked>>> tails;
    std::vector<Placed<SorePacked>> standing;
    const size_t width = static_cast<size_t>(pattern.m) * selectors.size();
    size_t next = 0;
    for (int64_t written = 0; written < total; ++run.cycles) {
        for (const auto& [place, packed] : standing) {
            std::copy_n(packed.values.begin(), pattern.n, run.entries.begin() + place * pattern.n);
            std::copy_n(packed.indices.begin(), pattern.n, run.indices.begin() + place * pattern.n);
            ++written;
        }
        standing.clear();
        aligner.groups.clear();
        aligner.tails.clear();
        for (const size_t end = std::min(next + width, values.size()); next < end; ++next)
            aligner.take(ranks[next], values[next]);
        ENMESH_ASSERT(aligner.groups.size() <= selectors.size());
        places.emplace_back();
        for (const auto& one : aligner.groups) places.back().push_back(one.place);
        tails.push_back(aligner.tails);
        const bool leaves = places.size() == static_cast<size_t>(sore.latency_cycles);
        for (size_t s = 0; s < selectors.size(); ++s) {
            const bool enters = s < aligner.groups.size();
            const auto out =
                selectors[s].clock(enters ? std::optional(aligner.groups[s].group) : std::nullopt);
            ENMESH_ASSERT(out.has_value() == (leaves && s < places.front().size()));
            if (out) standing.push_back({places.front()[s], *out});
        }
        if (!leaves) continue;
        standing.insert(standing.end(), tails.front().begin(), tails.front().end());
        places.pop_front();
        tails.pop_front();
    }
    return run;
}

}  // namespace enmesh::accel::sat
