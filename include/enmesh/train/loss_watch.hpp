#pragma once

#include <cstdint>

namespace enmesh {

/// Watches whether a run's loss rises above that of its first steps: then it does not learn, and a smaller
/// learning rate, a longer warm-up or clipping is what helps.
///
/// The loss of the first steps is the mean over the first updates, as many as 32 images take, so that one
/// update of a usual batch is enough and a rate that is too large from the start cannot hide in it. The loss
/// now is an exponential average over the last 512 images or 8 updates, whichever are more. The loss has
/// risen where the second is above the first by 10 % and 1 / sqrt(images of the first steps).
struct LossWatch {
    int64_t updates = 0;  ///< seen
    double first = 0;     ///< mean loss of the first steps
    double smooth = 0;    ///< loss now; starts at the first steps'
    int64_t rose_at = 0;  ///< the update (counted from 1) at which the loss had risen; 0: it has not

    /// The loss of update `update` (counted from 1, without a gap, or else nothing is watched) of `images`
    /// images. True once: when the loss has risen.
    bool add(double loss, int64_t images, int64_t update);

    friend bool operator==(const LossWatch&, const LossWatch&) = default;
};

}  // namespace enmesh
