#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "enmesh/base/arithmetic.hpp"

namespace enmesh {

/// One axis of a convolution, as FF sees it: output o reads input o · stride − pad + tap · dilation.
struct WindowAxis {
    int64_t in = 1, out = 1;  ///< positions of src and dst
    int64_t window = 1;       ///< taps
    int64_t stride = 1, pad = 0, dilation = 1;
};

/// Positions of the map that is written which meet the same taps: first, first + step, … (`count` of them). The
/// i-th reads position i · read_step + shift of the other map under each tap; that may lie outside the map.
struct AxisPhase {
    struct Tap {
        int64_t index, shift;
    };
    int64_t first = 0, step = 1, count = 0, read_step = 1;
    std::vector<Tap> taps{};  ///< ascending index

    int64_t reads(int64_t i, const Tap& tap) const { return i * read_step + tap.shift; }
};

/// FF writes dst in one phase.
inline AxisPhase forward_phase(const WindowAxis& axis) {
    AxisPhase phase{.count = axis.out, .read_step = axis.stride};
    for (int64_t tap = 0; tap < axis.window; ++tap)
        phase.taps.push_back({tap, tap * axis.dilation - axis.pad});
    return phase;
}

/// BP writes diff_src in one phase for each residue of the position by the stride: input y reads diff_dst at
/// (y + pad − tap · dilation) / stride, where that is whole. A phase may have no tap: its diff_src is zero.
inline std::vector<AxisPhase> backward_phases(const WindowAxis& axis) {
    std::vector<AxisPhase> phases;
    for (int64_t residue = 0; residue < std::min(axis.stride, axis.in); ++residue) {
        AxisPhase phase{
            .first = residue, .step = axis.stride, .count = ceil_div(axis.in - residue, axis.stride)};
        for (int64_t tap = 0; tap < axis.window; ++tap) {
            const int64_t distance = residue + axis.pad - tap * axis.dilation;
            if (distance % axis.stride == 0) phase.taps.push_back({tap, distance / axis.stride});
        }
        phases.push_back(std::move(phase));
    }
    return phases;
}

/// The phases of the map that FF (forward) or BP writes.
inline std::vector<AxisPhase> phases_of(const WindowAxis& axis, bool forward) {
    return forward ? std::vector{forward_phase(axis)} : backward_phases(axis);
}

}  // namespace enmesh
