#include "enmesh/accel/sore.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "accel/check_ranges.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

uint32_t magnitude(float rank) { return std::bit_cast<uint32_t>(rank) & 0x7fffffff; }

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

}  // namespace enmesh::accel
