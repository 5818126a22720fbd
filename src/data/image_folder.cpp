#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "data/image_file.hpp"
#include "data/readers.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

struct Listing {
    std::vector<fs::path> files;
    std::vector<int32_t> labels;
};

bool is_image_name(const fs::path& path) {
    std::string extension = path.extension().string();
    for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

/// Names in `directory` in byte order, hidden ones left out.
std::vector<std::string> names_in(const fs::path& directory, bool (*wanted)(const fs::path&)) {
    std::error_code code;
    std::vector<std::string> names;
    for (fs::directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
        const std::string name = it->path().filename().string();
        if (!name.starts_with(".") && wanted(it->path())) names.push_back(name);
    }
    if (code) refuse("{}: the folder cannot be read ({})", directory.string(), code.message());
    std::sort(names.begin(), names.end());
    return names;
}

bool is_folder(const fs::path& path) {
    std::error_code code;
    return fs::is_directory(path, code);
}

std::vector<std::string> class_folders(const fs::path& directory) {
    std::vector<std::string> names = names_in(directory, is_folder);
    if (names.empty()) {
        refuse("{}: has no class folders; DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg are expected",
               directory.string());
    }
    return names;
}

Listing list_images(const fs::path& directory, const std::vector<std::string>& classes) {
    Listing listing;
    for (size_t label = 0; label < classes.size(); ++label) {
        const fs::path folder = directory / classes[label];
        const std::vector<std::string> names = names_in(folder, is_image_name);
        if (names.empty()) refuse("{}: has no .jpg, .jpeg or .png file", folder.string());
        for (const std::string& name : names) {
            listing.files.push_back(folder / name);
            listing.labels.push_back(static_cast<int32_t>(label));
        }
    }
    return listing;
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

/// Decodes every file to `shape`; with `same_size` an image of another size is refused instead of resized.
Images decode_all(Listing listing, const ImageShape& shape, bool same_size) {
    Images images;
    images.labels = std::move(listing.labels);
    const int64_t bytes = shape.pixels();
    images.pixels.resize(static_cast<size_t>(images.count() * bytes));
    std::mutex mutex;
    int64_t first_bad = images.count();
    std::exception_ptr error;
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
            } catch (...) {
                const std::lock_guard lock(mutex);
                if (index < first_bad) {
                    first_bad = index;
                    error = std::current_exception();
                }
                return;
            }
        }
    });
    if (error) std::rethrow_exception(error);
    return images;
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
    const fs::path test = is_folder(directory / "test") ? directory / "test" : directory / "val";
    if (!is_folder(test)) refuse("{}: has neither a test nor a val folder", directory.string());

    Dataset dataset;
    dataset.name = "imagefolder";
    dataset.class_names = class_folders(train);
    for (const std::string& name : class_folders(test)) {
        if (!std::binary_search(dataset.class_names.begin(), dataset.class_names.end(), name)) {
            refuse("{}: a class that {} does not have", (test / name).string(), train.string());
        }
    }
    for (const std::string& name : dataset.class_names) {
        if (!is_folder(test / name))
            refuse("{}: no such folder, though {} has this class", (test / name).string(), train.string());
    }
    Listing train_files = list_images(train, dataset.class_names);
    Listing test_files = list_images(test, dataset.class_names);
    if (image) {
        dataset.image = *image;
    } else {
        const DecodedImage first = read_image(train_files.files.front(), 3);
        dataset.image = {3, first.height, first.width};
    }
    check_memory(train_files.files.size() + test_files.files.size(), dataset.image, directory);
    dataset.train = decode_all(std::move(train_files), dataset.image, !image);
    dataset.test = decode_all(std::move(test_files), dataset.image, !image);
    return finished(std::move(dataset));
}

}  // namespace enmesh::data
