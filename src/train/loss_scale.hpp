#pragma once

#include <cmath>
#include <cstdint>

#include "enmesh/train/checkpoint.hpp"

namespace enmesh::loss_scale {

/// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2): binary16 out-grads neither vanish nor
/// overflow. Powers of two, so that scaling loses no bit.
constexpr double first = 65536;
constexpr double least = 0x1p-24, most = 0x1p24;
constexpr int64_t growth_interval = 500;  ///< good updates before the scale is doubled

/// After an update: halves the scale and counts a skip if a gradient overflowed, doubles it after enough good
/// updates. False if the scale has nowhere left to fall.
inline bool adjust(Progress& progress, bool overflowed) {
    if (overflowed) {
        ++progress.skipped_updates;
        progress.good_updates = 0;
        progress.loss_scale /= 2;
        return progress.loss_scale >= least;
    }
    if (++progress.good_updates < growth_interval) return true;
    progress.good_updates = 0;
    progress.loss_scale = std::fmin(2 * progress.loss_scale, most);
    return true;
}

}  // namespace enmesh::loss_scale
