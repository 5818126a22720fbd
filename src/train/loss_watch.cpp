#include "enmesh/train/loss_watch.hpp"

#include <algorithm>
#include <cmath>

namespace enmesh {
namespace {

constexpr int64_t least_first_images = 32;
constexpr int64_t smoothed_images = 512, smoothed_updates = 8;
/// Share of the first steps' loss; the chance in which images these had is added. Runs whose loss falls from
/// the first steps on were seen below 0.01, those at learning rate 0.1 without a warm-up above 0.2.
constexpr double tolerated_rise = 0.1;

}  // namespace

bool LossWatch::add(double loss, int64_t images, int64_t update) {
    if (updates + 1 != update) return false;  // the first steps went by unseen
    const int64_t first_updates = std::max<int64_t>(1, least_first_images / images);
    ++updates;
    if (updates <= first_updates) {
        first += (loss - first) / static_cast<double>(updates);
        smooth = first;
        return false;
    }
    const int64_t window = std::max(smoothed_updates, smoothed_images / images);
    smooth += (loss - smooth) * 2 / static_cast<double>(window + 1);
    // The losses of single images spread by about their mean.
    const double chance = 1 / std::sqrt(static_cast<double>(first_updates * images));
    if (rose_at != 0 || !(smooth > (1 + tolerated_rise + chance) * first)) return false;
    rose_at = update;
    return true;
}

}  // namespace enmesh
