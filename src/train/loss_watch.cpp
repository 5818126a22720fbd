#include "enmesh/train/loss_watch.hpp"

#include <algorithm>

namespace enmesh {
namespace {

constexpr int64_t images_of_first_steps = 32;
constexpr int64_t smoothed_images = 512, smoothed_updates = 8;
/// Share of the first steps' loss. Networks of the zoo that learn stay below 1.01 of it, those at learning
/// rate 0.1 without a warm-up reach 1.2 and more.
constexpr double tolerated_rise = 0.15;

}  // namespace

bool LossWatch::add(double loss, int64_t images, int64_t update) {
    if (updates + 1 != update) return false;  // the first steps went by unseen
    const int64_t first_updates = std::max<int64_t>(1, images_of_first_steps / images);
    ++updates;
    if (updates <= first_updates) {
        first += (loss - first) / static_cast<double>(updates);
        smooth = first;
        return false;
    }
    const int64_t window = std::max(smoothed_updates, smoothed_images / images);
    smooth += (loss - smooth) * 2 / static_cast<double>(window + 1);
    if (rose_at != 0 || !(smooth > (1 + tolerated_rise) * first)) return false;
    rose_at = update;
    return true;
}

}  // namespace enmesh
