#pragma once

#include "enmesh/graph/operation.hpp"
#include "enmesh/graph/ops/pack_nm.hpp"

namespace enmesh {

/// Renews a mask (u8, in place) from weights, at every `period`-th update. Inputs weights, mask.
/// Selection::magnitude masks along `axis`; Selection::transposable along both channel axes at once.
struct SelectMask {
    static constexpr std::string_view name = "select_mask";
    Pattern pattern;
    GroupAxis axis = GroupAxis::input_channels;
    Selection selection = Selection::transposable;
    int64_t period = 1;

    static constexpr auto fields() {
        return std::tuple{field("pattern", &SelectMask::pattern), field("axis", &SelectMask::axis),
                          field("selection", &SelectMask::selection), field("period", &SelectMask::period)};
    }
    bool operator==(const SelectMask&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    static std::vector<std::array<int, 2>> in_place() { return {{0, 1}}; }
};

/// src where the mask is set, zero elsewhere. Inputs src, mask (u8).
struct ApplyMask {
    static constexpr std::string_view name = "apply_mask";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const ApplyMask&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// gradient_scale * gradient + decay * weights where the packed operand keeps nothing: SR-STE's pull of
/// pruned weights towards zero (Zhou et al. 2021, eq. 9; sign: descent shrinks them), added once per update.
/// Inputs gradient, weights, packed (N:M), gradient_scale (scalar).
struct SrDecay {
    static constexpr std::string_view name = "sr_decay";
    double decay = 2e-4;

    static constexpr auto fields() { return std::tuple{field("decay", &SrDecay::decay)}; }
    bool operator==(const SrDecay&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
