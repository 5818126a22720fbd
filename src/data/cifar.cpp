#include <array>

#include "data/readers.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

constexpr ImageShape cifar_image{3, 32, 32};
constexpr size_t pixel_bytes = 3 * 32 * 32;

/// A record is `label_bytes` labels, the last of which counts, and 1,024 bytes each of red, green and blue.
/// Returns the number of records appended.
size_t append_records(const fs::path& file, size_t label_bytes, int classes, Images& images) {
    const size_t record_bytes = label_bytes + pixel_bytes;
    const std::string bytes = read_file(file);
    if (bytes.empty() || bytes.size() % record_bytes != 0) {
        refuse(
            "{}: {} bytes are not a whole number of {}-byte records; the file is truncated or of another "
            "kind",
            file.string(), bytes.size(), record_bytes);
    }
    const size_t records = bytes.size() / record_bytes;
    const size_t first = images.labels.size();
    images.labels.reserve(first + records);
    images.pixels.reserve(images.pixels.size() + records * pixel_bytes);
    for (size_t record = 0; record < records; ++record) {
        const auto* from = reinterpret_cast<const uint8_t*>(bytes.data()) + record * record_bytes;
        images.labels.push_back(from[label_bytes - 1]);
        images.pixels.insert(images.pixels.end(), from + label_bytes, from + record_bytes);
    }
    check_labels(std::span(images.labels).subspan(first), classes, file.string());
    return records;
}

/// The files may lie in `directory` or in the folder that the official archive makes inside it.
fs::path locate(const fs::path& directory, const char* archive_folder, const char* file) {
    check_directory(directory);
    std::error_code code;
    if (fs::exists(directory / file, code)) return directory;
    if (fs::exists(directory / archive_folder / file, code)) return directory / archive_folder;
    refuse("{}: no such file; the binary version of the data set is needed", (directory / file).string());
}

}  // namespace

Dataset cifar10(const fs::path& directory) {
    const fs::path folder = locate(directory, "cifar-10-batches-bin", "data_batch_1.bin");
    Dataset dataset;
    dataset.name = "cifar10";
    dataset.image = cifar_image;
    dataset.class_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                           "dog",      "frog",       "horse", "ship", "truck"};
    size_t expected = 0;
    for (int batch = 1; batch <= 5; ++batch) {
        const fs::path file = folder / fmt::format("data_batch_{}.bin", batch);
        const size_t records = append_records(file, 1, dataset.classes(), dataset.train);
        if (batch == 1) expected = records;
        if (records != expected) {
            refuse("{}: {} images, but data_batch_1.bin has {}; one of them is truncated", file.string(),
                   records, expected);
        }
    }
    const size_t tests = append_records(folder / "test_batch.bin", 1, dataset.classes(), dataset.test);
    if (expected == 10000 && tests != 10000) {
        refuse("{}: {} images instead of 10000; the file is truncated", (folder / "test_batch.bin").string(),
               tests);
    }
    return finished(std::move(dataset));
}

Dataset cifar100(const fs::path& directory) {
    const fs::path folder = locate(directory, "cifar-100-binary", "train.bin");
    static constexpr std::array names = {
        "apple",       "aquarium_fish", "baby",      "bear",       "beaver",       "bed",
        "bee",         "beetle",        "bicycle",   "bottle",     "bowl",         "boy",
        "bridge",      "bus",           "butterfly", "camel",      "can",          "castle",
        "caterpillar", "cattle",        "chair",     "chimpanzee", "clock",        "cloud",
        "cockroach",   "couch",         "crab",      "crocodile",  "cup",          "dinosaur",
        "dolphin",     "elephant",      "flatfish",  "forest",     "fox",          "girl",
        "hamster",     "house",         "kangaroo",  "keyboard",   "lamp",         "lawn_mower",
        "leopard",     "lion",          "lizard",    "lobster",    "man",          "maple_tree",
        "motorcycle",  "mountain",      "mouse",     "mushroom",   "oak_tree",     "orange",
        "orchid",      "otter",         "palm_tree", "pear",       "pickup_truck", "pine_tree",
        "plain",       "plate",         "poppy",     "porcupine",  "possum",       "rabbit",
        "raccoon",     "ray",           "road",      "rocket",     "rose",         "sea",
        "seal",        "shark",         "shrew",     "skunk",      "skyscraper",   "snail",
        "snake",       "spider",        "squirrel",  "streetcar",  "sunflower",    "sweet_pepper",
        "table",       "tank",          "telephone", "television", "tiger",        "tractor",
        "train",       "trout",         "tulip",     "turtle",     "wardrobe",     "whale",
        "willow_tree", "wolf",          "woman",     "worm"};
    static_assert(names.size() == 100);
    Dataset dataset;
    dataset.name = "cifar100";
    dataset.image = cifar_image;
    dataset.class_names.assign(names.begin(), names.end());
    append_records(folder / "train.bin", 2, 100, dataset.train);
    append_records(folder / "test.bin", 2, 100, dataset.test);
    if (dataset.train.count() == 50000 && dataset.test.count() != 10000) {
        refuse("{}: {} images instead of 10000; the file is truncated", (folder / "test.bin").string(),
               dataset.test.count());
    }
    return finished(std::move(dataset));
}

}  // namespace enmesh::data
