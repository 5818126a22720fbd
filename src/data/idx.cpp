#include <algorithm>
#include <array>

#include "data/byte_reader.hpp"
#include "data/readers.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

// The IDX magic number: two zero bytes, the element type (8: unsigned byte) and the number of dimensions.
constexpr uint32_t labels_magic = 0x801, images_magic = 0x803;

uint32_t read_u32(ByteReader& reader) {
    std::array<uint8_t, 4> bytes{};
    if (reader.read(bytes) != bytes.size())
        refuse("{}: ends within its header; the file is truncated", reader.name());
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

void check_magic(ByteReader& reader, uint32_t expected) {
    const uint32_t magic = read_u32(reader);
    if (magic == expected) return;
    const char* wanted = expected == images_magic ? "images" : "labels";
    if (magic == images_magic || magic == labels_magic) {
        refuse("{}: holds {}, but its name says {}; the files are mixed up", reader.name(),
               magic == images_magic ? "images" : "labels", wanted);
    }
    refuse("{}: is not an IDX file of {} (starts with {:#010x}, expected {:#010x})", reader.name(), wanted,
           magic, expected);
}

/// `count` elements of `each` bytes and nothing after them.
std::vector<uint8_t> read_body(ByteReader& reader, uint64_t count, uint64_t each) {
    if (count == 0 || each == 0) refuse("{}: holds no data", reader.name());
    if (count > reader.remaining_bound() / each) {
        refuse(
            "{}: its header promises {} items of {} bytes, more than the file can hold; it is truncated or "
            "damaged",
            reader.name(), count, each);
    }
    std::vector<uint8_t> body(static_cast<size_t>(count * each));
    const size_t got = reader.read(body);
    if (got != body.size()) {
        refuse("{}: truncated: {} bytes of data, its header promises {} items of {}", reader.name(), got,
               count, each);
    }
    if (!reader.at_end())
        refuse("{}: has bytes beyond the {} items that its header promises", reader.name(), count);
    return body;
}

fs::path find_idx(const fs::path& directory, const std::string& name) {
    // Archives unpack to other names: "train-images.idx3-ubyte", and a folder named like the file that is in
    // it.
    const std::string dotted = std::string(name).replace(name.rfind("-idx"), 1, ".");
    std::error_code code;
    for (const std::string& form : {name, dotted}) {
        for (const fs::path& place : {directory / form, directory / form / name, directory / form / dotted}) {
            if (fs::is_regular_file(place, code)) return place;
            const fs::path packed = place.string() + ".gz";
            if (fs::is_regular_file(packed, code)) return packed;
        }
    }
    refuse("{}: no such file (nor {}, nor either with .gz)", (directory / name).string(), dotted);
}

struct IdxSplit {
    Images images;
    ImageShape shape;
    std::string images_name;
    std::string labels_name;
};

IdxSplit read_split(const fs::path& directory, const std::string& prefix) {
    IdxSplit split;
    ByteReader images(find_idx(directory, prefix + "-images-idx3-ubyte"));
    split.images_name = images.name();
    check_magic(images, images_magic);
    const uint32_t count = read_u32(images), height = read_u32(images), width = read_u32(images);
    if (height > 1U << 15 || width > 1U << 15) {
        refuse("{}: its header promises {}x{} pixels an image; it is damaged", images.name(), height, width);
    }
    split.shape = {1, static_cast<int>(height), static_cast<int>(width)};
    split.images.pixels = read_body(images, count, uint64_t{height} * width);

    ByteReader labels(find_idx(directory, prefix + "-labels-idx1-ubyte"));
    split.labels_name = labels.name();
    check_magic(labels, labels_magic);
    const uint32_t label_count = read_u32(labels);
    const std::vector<uint8_t> values = read_body(labels, label_count, 1);
    if (label_count != count) {
        refuse("{}: {} labels for the {} images of {}; they do not belong together", labels.name(),
               label_count, count, images.name());
    }
    split.images.labels.assign(values.begin(), values.end());
    return split;
}

/// One more than the highest training label. A class without a training image is refused, because one damaged
/// label would make hundreds of them; 0 may be without, for sets that count from 1.
int count_classes(const Images& train, const std::string& labels_name) {
    const auto highest = std::max_element(train.labels.begin(), train.labels.end());
    const int classes = *highest + 1;
    const std::vector<int64_t> counts = images_per_class(train, classes);
    std::string empty;
    int total = 0;
    for (size_t first = 1, end = 0; first < counts.size(); first = end + 1) {
        end = first;
        while (counts[end] == 0) ++end;
        if (end == first) continue;
        total += static_cast<int>(end - first);
        empty += empty.empty() ? "" : ", ";
        empty += end - first == 1 ? fmt::format("{}", first) : fmt::format("{} to {}", first, end - 1);
    }
    if (total == 0) return classes;
    refuse(
        "{}: label {} of image {}, but class{} {} {} no training image; the label is damaged or the classes "
        "are not numbered in one run",
        labels_name, *highest, highest - train.labels.begin(), total == 1 ? "" : "es", empty,
        total == 1 ? "has" : "have");
}

/// `classes` 0: counted from the training labels.
Dataset read_idx(const fs::path& directory, std::string name, int classes) {
    check_directory(directory);
    IdxSplit train = read_split(directory, "train");
    IdxSplit test = read_split(directory, "t10k");
    if (!(train.shape == test.shape)) {
        refuse("{}: images of {}, but {} has {}", test.images_name, to_string(test.shape), train.images_name,
               to_string(train.shape));
    }
    if (classes == 0) classes = count_classes(train.images, train.labels_name);
    check_labels(train.images.labels, classes, train.labels_name);
    check_labels(test.images.labels, classes, test.labels_name);

    Dataset dataset;
    dataset.name = std::move(name);
    dataset.image = train.shape;
    dataset.train = std::move(train.images);
    dataset.test = std::move(test.images);
    for (int label = 0; label < classes; ++label) dataset.class_names.push_back(fmt::format("{}", label));
    return finished(std::move(dataset));
}

Dataset read_mnist_like(const fs::path& directory, const std::string& name) {
    Dataset dataset = read_idx(directory, name, 10);
    if (!(dataset.image == ImageShape{1, 28, 28})) {
        refuse("{}: images of {}, but {} has 1x28x28; use idx:DIR for other sets", directory.string(),
               to_string(dataset.image), name);
    }
    return dataset;
}

}  // namespace

Dataset mnist(const fs::path& directory) { return read_mnist_like(directory, "mnist"); }

Dataset fashion_mnist(const fs::path& directory) {
    Dataset dataset = read_mnist_like(directory, "fashion-mnist");
    dataset.class_names = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                           "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
    return dataset;
}

Dataset idx(const fs::path& directory) { return read_idx(directory, "idx", 0); }

}  // namespace enmesh::data
