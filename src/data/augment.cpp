#include "enmesh/data/augment.hpp"

#include <algorithm>
#include <charconv>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::data {
namespace {

// Keeps the draws apart from the order of the epoch, which is seeded with the same number.
constexpr uint64_t augmentation_stream = 0x61756700;

int parse_pixels(std::string_view key, std::string_view text, int most) {
    int value = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < 1 || value > most) {
        refuse("augmentation {}={}: pixels from 1 to {} are expected", key, text, most);
    }
    return value;
}

}  // namespace

Augmentation standard_augmentation(const Dataset& dataset) {
    if (dataset.name == "cifar10" || dataset.name == "cifar100")
        return {.crop_padding = 4, .horizontal_flip = true};
    if (dataset.name == "imagefolder") {
        return {.crop_padding = std::min(dataset.image.height, dataset.image.width) / 8,
                .horizontal_flip = true};
    }
    return {};
}

Augmentation parse_augmentation(std::string_view text, const Dataset& dataset) {
    if (text == "none") return {};
    if (text == "standard") return standard_augmentation(dataset);
    static const std::vector<std::string> known{"crop", "flip", "cutout", "none", "standard"};
    const int most = std::min(dataset.image.height, dataset.image.width);
    Augmentation result;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t comma = std::min(text.find(',', begin), text.size());
        const std::string_view item = text.substr(begin, comma - begin);
        begin = comma + 1;
        const size_t equals = item.find('=');
        const std::string_view key = item.substr(0, equals);
        const std::string_view value = equals == std::string_view::npos ? "" : item.substr(equals + 1);
        const bool repeated = (key == "crop" && result.crop_padding > 0) ||
                              (key == "cutout" && result.cutout > 0) ||
                              (item == "flip" && result.horizontal_flip);
        if (repeated) refuse("augmentation '{}': {} is given twice", text, key);
        if (key == "crop") {
            result.crop_padding = parse_pixels(key, value, most);
        } else if (key == "cutout") {
            result.cutout = parse_pixels(key, value, most);
        } else if (item == "flip") {
            result.horizontal_flip = true;
        } else {
            refuse("unknown augmentation '{}'{}", item, suggestion(key, known));
        }
    }
    return result;
}

std::string to_string(const Augmentation& augmentation) {
    std::string text;
    const auto add = [&text](const std::string& item) { text += (text.empty() ? "" : ",") + item; };
    if (augmentation.crop_padding > 0) add(fmt::format("crop={}", augmentation.crop_padding));
    if (augmentation.horizontal_flip) add("flip");
    if (augmentation.cutout > 0) add(fmt::format("cutout={}", augmentation.cutout));
    return text.empty() ? "none" : text;
}

Draw draw(const Augmentation& augmentation, const ImageShape& shape, uint64_t seed, int64_t epoch,
          int64_t image) {
    const Random epochs(seed, augmentation_stream);
    Random random(epochs.at(static_cast<uint64_t>(epoch)), static_cast<uint64_t>(image));
    const auto below = [&random](int count) {
        return static_cast<int>(random.below(static_cast<uint64_t>(count)));
    };
    Draw result;
    // Always the same five draws, so that switching one kind on leaves the others as they were.
    result.shift_y = below(2 * augmentation.crop_padding + 1) - augmentation.crop_padding;
    result.shift_x = below(2 * augmentation.crop_padding + 1) - augmentation.crop_padding;
    result.flip = (below(2) == 1) && augmentation.horizontal_flip;
    result.cutout_y = below(shape.height);
    result.cutout_x = below(shape.width);
    return result;
}

Normalizer::Normalizer(const Normalization& normalization, int pixel_max) {
    for (size_t channel = 0; channel < normalization.mean.size(); ++channel) {
        for (int pixel = 0; pixel < 256; ++pixel) {
            const double fraction = static_cast<double>(pixel) / pixel_max;
            tables_.push_back(static_cast<float>((fraction - normalization.mean[channel]) /
                                                 normalization.deviation[channel]));
        }
    }
}

void augment(std::span<const uint8_t> src, const ImageShape& shape, const Normalizer& normalizer,
             const Augmentation& augmentation, const Draw& draw, std::span<float> dst) {
    const int height = shape.height, width = shape.width;
    const int cut_top = draw.cutout_y - augmentation.cutout / 2,
              cut_left = draw.cutout_x - augmentation.cutout / 2;
    const int cut_begin = std::max(0, cut_left), cut_end = std::min(width, cut_left + augmentation.cutout);
    // Columns [inside_begin, inside_end) of the crop lie on the image, the others on its padding.
    const int inside_begin = std::clamp(-draw.shift_x, 0, width),
              inside_end = std::clamp(width - draw.shift_x, 0, width);
    for (int c = 0; c < shape.channels; ++c) {
        const float* table = normalizer.table(c);
        for (int y = 0; y < height; ++y) {
            float* row =
                dst.data() + (static_cast<size_t>(c) * static_cast<size_t>(height) + static_cast<size_t>(y)) *
                                 static_cast<size_t>(width);
            const int from_y = y + draw.shift_y;
            if (from_y < 0 || from_y >= height) {
                std::fill(row, row + width, table[0]);
            } else {
                const ptrdiff_t from = (static_cast<ptrdiff_t>(c) * height + from_y) * width + draw.shift_x;
                std::fill(row, row + inside_begin, table[0]);
                for (int x = inside_begin; x < inside_end; ++x)
                    row[x] = table[src[static_cast<size_t>(from + x)]];
                std::fill(row + inside_end, row + width, table[0]);
            }
            if (draw.flip) std::reverse(row, row + width);
            if (y >= cut_top && y < cut_top + augmentation.cutout && cut_begin < cut_end) {
                std::fill(row + cut_begin, row + cut_end, 0.0F);
            }
        }
    }
}

}  // namespace enmesh::data
