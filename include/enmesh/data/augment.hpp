#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/data/dataset.hpp"

namespace enmesh::data {

/// What happens to a training image before the network sees it; nothing by default.
struct Augmentation {
    int crop_padding = 0;          ///< pixels of zeros on each side, then a random crop of the original size
    bool horizontal_flip = false;  ///< with probability 1/2
    int cutout = 0;  ///< side of a square set to the mean, its centre anywhere (DeVries, Taylor 2017)

    bool operator==(const Augmentation&) const = default;
};

/// What is usual for the kind: crop of 4 and flip for CIFAR, crop of an eighth and flip for image folders,
/// else nothing.
Augmentation standard_augmentation(const Dataset& dataset);

/// Reads "none", "standard", or a list such as "crop=4,flip,cutout=8".
Augmentation parse_augmentation(std::string_view text, const Dataset& dataset);
std::string to_string(const Augmentation& augmentation);

/// The random choices for one image: a pure function of (seed, epoch, image), so of no thread and no order.
struct Draw {
    int shift_y = 0;  ///< the crop's origin relative to the image's, in [-crop_padding, crop_padding]
    int shift_x = 0;
    bool flip = false;
    int cutout_y = 0;  ///< centre of the square
    int cutout_x = 0;
};
Draw draw(const Augmentation& augmentation, const ImageShape& shape, uint64_t seed, int64_t epoch,
          int64_t image);

/// uint8 pixels to what the network sees, one table of 256 values per channel.
class Normalizer {
  public:
    Normalizer(const Normalization& normalization, int pixel_max);

    /// `channel` in [0, c); the 256 normalised values of a pixel.
    const float* table(int channel) const { return &tables_[static_cast<size_t>(channel) * 256]; }

  private:
    std::vector<float> tables_;
};

/// Normalises one image (c, h, w) into `dst` under a draw: crop, then flip, then cutout.
void augment(std::span<const uint8_t> src, const ImageShape& shape, const Normalizer& normalizer,
             const Augmentation& augmentation, const Draw& draw, std::span<float> dst);

}  // namespace enmesh::data
