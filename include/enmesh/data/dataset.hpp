#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace enmesh::data {

struct ImageShape {
    int channels = 0;
    int height = 0;
    int width = 0;

    int64_t pixels() const { return int64_t{channels} * height * width; }
    bool operator==(const ImageShape&) const = default;
};

/// "3x32x32".
std::string to_string(const ImageShape& shape);

/// One split, in memory: uint8 pixels (n, c, h, w) and one label in [0, classes) per image.
struct Images {
    std::vector<uint8_t> pixels;
    std::vector<int32_t> labels;

    int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

/// Per channel: the network sees (pixel / pixel_max - mean) / deviation.
struct Normalization {
    std::vector<double> mean;
    std::vector<double> deviation;
};

struct Dataset {
    std::string name;  ///< the kind, e.g. "cifar10"
    ImageShape image;
    int pixel_max = 255;  ///< the value that counts as 1 (16 for digits)
    std::vector<std::string> class_names;
    Images train;
    Images test;
    std::vector<std::string> notes;  ///< what was left out and why, a line each; in no checkpoint
    Normalization normalization;     ///< of the training set, exact sums over its pixels

    int classes() const { return static_cast<int>(class_names.size()); }
};

/// KIND[:PATH] as a user writes it.
struct DataSpec {
    std::string kind;
    std::filesystem::path path;
};

/// The kinds that parse_data_spec knows.
std::span<const std::string> data_kinds();

/// Reads "cifar10:DIR". Refuses an unknown kind with the nearest name, and a missing or a superfluous PATH.
DataSpec parse_data_spec(std::string_view text);
std::string to_string(const DataSpec& spec);

struct LoadOptions {
    /// imagefolder only: every image is resized (shorter side, antialiased triangle filter) and
    /// centre-cropped to this shape. Without it the images must all have one size, and are read as RGB.
    std::optional<ImageShape> image;
};

/// Reads and checks both splits. Whatever is wrong with a file (missing, truncated, of another kind, counts
/// that differ, labels out of range, trailing bytes, not an image) is refused in one line that names the
/// file. No header is trusted before it agrees with the size of the file, so that memory stays bounded by
/// what the files hold.
Dataset load(const DataSpec& spec, const LoadOptions& options = {});
inline Dataset load(std::string_view spec, const LoadOptions& options = {}) {
    return load(parse_data_spec(spec), options);
}

/// The embedded 8x8 digits, split into 1,437 training and 360 test images by a shuffle seeded with
/// `split_seed`. The split must not follow the training seed, lest an evaluation see training images: it is
/// part of the specification
/// ("digits:SEED", 0 by default).
Dataset digits(uint64_t split_seed = 0);
Dataset mnist(const std::filesystem::path& directory);
Dataset fashion_mnist(const std::filesystem::path& directory);
/// Any set in the four IDX files, 8-bit grey; classes are counted from the training labels.
Dataset idx(const std::filesystem::path& directory);
/// The binary versions; `directory` or the folder inside it that the official archive unpacks to.
Dataset cifar10(const std::filesystem::path& directory);
Dataset cifar100(const std::filesystem::path& directory);
/// Every JPEG and PNG file (by its first bytes) below DIR/train/CLASS, and below DIR/test or DIR/val; classes
/// are the folder names in byte order. All files that cannot be read are named in one refusal.
Dataset image_folder(const std::filesystem::path& directory, std::optional<ImageShape> image = {});

/// Mean and standard deviation per channel of `images`, as fractions of pixel_max; a constant channel gets
/// deviation 1.
Normalization normalization_of(const Images& images, const ImageShape& shape, int pixel_max);

/// Images of each class.
std::vector<int64_t> images_per_class(const Images& images, int classes);

}  // namespace enmesh::data
