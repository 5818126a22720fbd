#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "enmesh/accel/common/ranges.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/pattern.hpp"

/// The SORE: SAT's online N:M reduction engine. It takes groups of M values and emits the N of largest
/// magnitude in index order, with their indices; ties go to the lowest index (docs/sat.md).
namespace enmesh::accel::sat {

struct Sore {
    int groups_per_cycle = 8;  ///< parallel selectors (ours)
    int latency_cycles =
        4;  ///< from a group's entry to its packed form: 4 stages, more are output registers (ours)
};
std::span<const ParameterRange<Sore>> sore_ranges();
void check(const Sore& sore);

/// Cycles to reduce `groups` groups: ceil(groups / groups_per_cycle) + latency_cycles; 0 for none.
int64_t sore_cycles(const Sore& sore, int64_t groups) noexcept;

/// A group in: FP32 ranks (the masters; or the FP16 values widened) and the FP16 values that leave.
struct SoreGroup {
    std::array<float, Pattern::max_m> ranks{};
    std::array<Half, Pattern::max_m> values{};
};

/// A packed group out: `n` entries, ascending indices.
struct SorePacked {
    std::array<Half, Pattern::max_m> values{};
    std::array<uint8_t, Pattern::max_m> indices{};

    friend bool operator==(const SorePacked&, const SorePacked&) = default;
};

/// The selection itself, by sorting: what the pipeline must produce. Magnitudes compare as the bits of
/// |rank|, so that a NaN ranks above everything and every bit pattern has its place.
SorePacked sore_select(const SoreGroup& group, Pattern pattern);

/// One selector, register by register: call clock() once a cycle with the group that enters (or nothing); it
/// returns the packed group that stands in the output register at the end of that cycle.
class SoreSelector {
  public:
    SoreSelector(const Sore& sore, Pattern pattern);
    std::optional<SorePacked> clock(const std::optional<SoreGroup>& in);

  private:
    /// Stage registers: group, then beaten-by counts, then output positions, then the packed entries.
    struct Stage {
        bool valid = false;
        SoreGroup group;
        std::array<uint8_t, Pattern::max_m> rank{};      ///< how many elements beat this one
        std::array<uint8_t, Pattern::max_m> position{};  ///< kept elements before this one
        SorePacked packed;
    };
    void count_beaten(Stage& stage) const;
    void place(Stage& stage) const;
    void compact(Stage& stage) const;

    Pattern pattern_;
    std::vector<Stage> stages_;
};

struct SoreRun {
    int64_t cycles = 0;
    std::vector<SorePacked> packed;
};
/// All selectors over all groups, cycle by cycle until the last packed group has been written.
SoreRun run_sore(const Sore& sore, Pattern pattern, std::span<const SoreGroup> groups);

/// A packed operand [lines][groups][N]: floor(k / M) groups of a line, then ceil((k mod M) / N) of its dense
/// tail, padded with zeros at index M - 1.
struct SoreLines {
    int64_t cycles = 0;
    int64_t groups = 0;  ///< of a line
    std::vector<Half> entries;
    std::vector<uint8_t> indices;
};
/// Whole lines of `k` values as a product needs them, [lines][k], stepped until the last packed group has
/// been written: M * groups_per_cycle values enter a cycle, whole groups go through the selectors and tails
/// past them (docs/sat.md, "Lines and tails"). Takes sore_cycles(ceil(lines * k / M)).
SoreLines run_sore_lines(const Sore& sore, Pattern pattern, int64_t k, std::span<const float> ranks,
                         std::span<const Half> values);

}  // namespace enmesh::accel::sat
