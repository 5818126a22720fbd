#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "data/image_file.hpp"
#include "data/image_listing.hpp"
#include "data/readers.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

bool is_folder(const fs::path& path) {
    std::error_code code;
    return fs::is_directory(path, code);
}

std::vector<std::string> class_folders(const fs::path& directory) {
    std::vector<std::string> names = folders_in(directory);
    if (names.empty()) {
        refuse("{}: has no class folders; DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg are expected",
               directory.string());
    }
    return names;
}

void check_memory(size_t images, const ImageShape& shape, const fs::path& directory) {
    const double wanted = static_cast<double>(images) * static_cast<double>(shape.pixels());
    const double memory =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    if (!(wanted <= 0.75 * memory)) {
        refuse(
            "{}: {} images of {} take {:.1f} GB, more than this machine's memory allows; use a smaller "
            "--image",
            directory.string(), images, to_string(shape), wanted / 1e9);
    }
}

/// The files of both splits that cannot be read, and why, each a text.
using BadFiles = std::vector<std::string>;

/// One line for all of them: whoever mends them mends them together.
void refuse_bad(const BadFiles& bad) {
    if (bad.empty()) return;
    constexpr size_t most = 20;
    std::string list = bad.front();
    for (size_t i = 1; i < std::min(bad.size(), most); ++i) list += "; " + bad[i];
    if (bad.size() == 1) refuse("{}", list);
    refuse("{} files cannot be read: {}{}", bad.size(), list,
           bad.size() > most ? fmt::format("; and {} more", bad.size() - most) : "");
}

/// Decodes every file to `shape`; with `same_size` an image of another size is bad and not resized.
Images decode_all(ImageListing listing, const ImageShape& shape, bool same_size, BadFiles& bad) {
    Images images;
    images.labels = std::move(listing.labels);
    const int64_t bytes = shape.pixels();
    images.pixels.resize(static_cast<size_t>(images.count() * bytes));
    std::mutex mutex;
    std::map<int64_t, std::string> why;
    const auto decode = [&](int64_t index) {
        const fs::path& file = listing.files[static_cast<size_t>(index)];
        const DecodedImage image = read_image(file, shape.channels);
        if (same_size && (image.height != shape.height || image.width != shape.width)) {
            refuse(
                "{}: {}x{} pixels, but the first image has {}x{}; give the network's size with --image CxHxW",
                file.string(), image.height, image.width, shape.height, shape.width);
        }
        resize_to_cover(
            image, shape.height, shape.width,
            std::span(images.pixels).subspan(static_cast<size_t>(index * bytes), static_cast<size_t>(bytes)));
    };
    parallel_for(images.count(), 1, [&](int64_t begin, int64_t end) {
        for (int64_t index = begin; index < end; ++index) {
            try {
                decode(index);
            } catch (const Error& error) {
                const std::lock_guard lock(mutex);
                why.emplace(index, error.what());
            }
        }
    });
    for (auto& [index, text] : why) bad.push_back(std::move(text));
    return images;
}

/// The size of the first image that can be read; all that cannot are refused together later.
ImageShape first_shape(const std::vector<fs::path>& files) {
    BadFiles bad;
    for (const fs::path& file : files) {
        try {
            const DecodedImage image = read_image(file, 3);
            return {3, image.height, image.width};
        } catch (const Error& error) {
            bad.push_back(error.what());
        }
    }
    refuse_bad(bad);
    return {};
}

/// The folder of the test images: "test", or "val" where test has none of the classes (TinyImageNet keeps
/// images without labels there).
fs::path test_folder(const fs::path& directory, const std::vector<std::string>& classes) {
    const fs::path test = directory / "test", val = directory / "val";
    if (!is_folder(val)) return test;
    if (!is_folder(test)) return val;
    for (const std::string& name : folders_in(test)) {
        if (std::binary_search(classes.begin(), classes.end(), name)) return test;
    }
    return has_annotations(test) ? test : val;
}

/// Refuses a split whose class folders are not those of the training images.
void check_classes(const fs::path& test, const fs::path& train, const std::vector<std::string>& classes) {
    if (has_annotations(test)) return;
    for (const std::string& name : class_folders(test)) {
        if (!std::binary_search(classes.begin(), classes.end(), name))
            refuse("{}: a class that {} does not have", (test / name).string(), train.string());
    }
    for (const std::string& name : classes) {
        if (!is_folder(test / name))
            refuse("{}: no such folder, though {} has this class", (test / name).string(), train.string());
    }
}

}  // namespace

Dataset image_folder(const fs::path& directory, std::optional<ImageShape> image) {
    check_directory(directory);
    if (image && (image->channels != 1 && image->channels != 3)) {
        refuse("imagefolder: images have 1 or 3 channels, not {}", image->channels);
    }
    if (image && (image->height < 1 || image->width < 1))
        refuse("imagefolder: impossible size {}", to_string(*image));
    const fs::path train = directory / "train";
    check_directory(train);
    if (!is_folder(directory / "test") && !is_folder(directory / "val"))
        refuse("{}: has neither a test nor a val folder", directory.string());

    Dataset dataset;
    dataset.name = "imagefolder";
    dataset.class_names = class_folders(train);
    const fs::path test = test_folder(directory, dataset.class_names);
    check_classes(test, train, dataset.class_names);
    ImageListing train_files = list_images(train, dataset.class_names);
    ImageListing test_files = list_images(test, dataset.class_names);
    std::map<std::string, int64_t> left_out = train_files.left_out;
    for (const auto& [kind, count] : test_files.left_out) left_out[kind] += count;
    if (const std::string text = left_out_text(left_out); !text.empty())
        dataset.notes.push_back(directory.string() + ": " + text);
    if (image) {
        dataset.image = *image;
    } else {
        dataset.image = first_shape(train_files.files);
    }
    check_memory(train_files.files.size() + test_files.files.size(), dataset.image, directory);
    BadFiles bad;
    dataset.train = decode_all(std::move(train_files), dataset.image, !image, bad);
    dataset.test = decode_all(std::move(test_files), dataset.image, !image, bad);
    refuse_bad(bad);
    return finished(std::move(dataset));
}

}  // namespace enmesh::data
