#include "enmesh/data/dataset.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "data/readers.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

/// The seed of digits:SEED, 0 without one.
uint64_t split_seed(const std::string& text) {
    uint64_t seed = 0;
    if (text.empty()) return seed;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
    if (error != std::errc{} || end != text.data() + text.size()) {
        refuse("digits:{}: digits is embedded and takes no path, only the number that seeds its split", text);
    }
    return seed;
}

/// A shell expands ~/ only where a word begins, not behind "mnist:".
std::string in_home(std::string_view path) {
    const char* const home = std::getenv("HOME");
    if (home == nullptr || !(path == "~" || path.starts_with("~/"))) return std::string(path);
    return home + std::string(path.substr(1));
}

struct Kind {
    std::string name;
    bool needs_path;
    Dataset (*load)(const fs::path&, const LoadOptions&);
};

const std::vector<Kind>& kinds() {
    using Options = const LoadOptions&;
    static const std::vector<Kind> list = {
        {"digits", false, [](const fs::path& path, Options) { return digits(split_seed(path.string())); }},
        {"mnist", true, [](const fs::path& path, Options) { return mnist(path); }},
        {"fashion-mnist", true, [](const fs::path& path, Options) { return fashion_mnist(path); }},
        {"idx", true, [](const fs::path& path, Options) { return idx(path); }},
        {"cifar10", true, [](const fs::path& path, Options) { return cifar10(path); }},
        {"cifar100", true, [](const fs::path& path, Options) { return cifar100(path); }},
        {"imagefolder", true,
         [](const fs::path& path, Options options) { return image_folder(path, options.image); }},
    };
    return list;
}

const Kind& kind_named(const std::string& name) {
    for (const Kind& kind : kinds()) {
        if (kind.name == name) return kind;
    }
    refuse("unknown data kind '{}'{}", name, suggestion(name, data_kinds()));
}

}  // namespace

std::string to_string(const ImageShape& shape) {
    return fmt::format("{}x{}x{}", shape.channels, shape.height, shape.width);
}

std::span<const std::string> data_kinds() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        for (const Kind& kind : kinds()) list.push_back(kind.name);
        return list;
    }();
    return names;
}

DataSpec parse_data_spec(std::string_view text) {
    const size_t colon = text.find(':');
    DataSpec spec{std::string(text.substr(0, colon)), {}};
    if (colon != std::string_view::npos) spec.path = in_home(text.substr(colon + 1));
    const Kind& kind = kind_named(spec.kind);
    if (kind.needs_path && spec.path.empty()) refuse("{0} needs the folder of its files: {0}:DIR", spec.kind);
    if (spec.kind == "digits") split_seed(spec.path.string());
    return spec;
}

std::string to_string(const DataSpec& spec) {
    return spec.path.empty() ? spec.kind : spec.kind + ":" + spec.path.string();
}

Dataset load(const DataSpec& spec, const LoadOptions& options) {
    Dataset dataset = kind_named(spec.kind).load(spec.path, options);
    if (options.image && !(*options.image == dataset.image)) {
        refuse("{}: images of {}, but {} was asked for; only imagefolder resizes", to_string(spec),
               to_string(dataset.image), to_string(*options.image));
    }
    return dataset;
}

Normalization normalization_of(const Images& images, const ImageShape& shape, int pixel_max) {
    const int64_t plane = int64_t{shape.height} * shape.width;
    const double total = static_cast<double>(images.count() * plane) * pixel_max;
    Normalization result;
    for (int channel = 0; channel < shape.channels; ++channel) {
        // Integer sums: exact, so that order and threads cannot matter.
        uint64_t sum = 0, squares = 0;
        for (int64_t image = 0; image < images.count(); ++image) {
            const uint8_t* from = images.pixels.data() + image * shape.pixels() + channel * plane;
            for (int64_t i = 0; i < plane; ++i) {
                sum += from[i];
                squares += uint64_t{from[i]} * from[i];
            }
        }
        const double mean = static_cast<double>(sum) / total;
        const double variance = static_cast<double>(squares) / (total * pixel_max) - mean * mean;
        result.mean.push_back(mean);
        result.deviation.push_back(variance > 1e-12 ? std::sqrt(variance) : 1.0);
    }
    return result;
}

std::vector<int64_t> images_per_class(const Images& images, int classes) {
    std::vector<int64_t> counts(static_cast<size_t>(classes));
    for (const int32_t label : images.labels) ++counts[static_cast<size_t>(label)];
    return counts;
}

void check_directory(const fs::path& directory) {
    std::error_code code;
    if (!fs::exists(directory, code)) refuse("{}: no such folder", directory.string());
    if (!fs::is_directory(directory, code))
        refuse("{}: is a file, the folder of the data is needed", directory.string());
}

void check_labels(std::span<const int32_t> labels, int classes, std::string_view file) {
    for (size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] >= 0 && labels[i] < classes) continue;
        refuse("{}: label {} of image {} is out of range: classes are 0 to {}", file, labels[i], i,
               classes - 1);
    }
}

Dataset finished(Dataset dataset) {
    for (const Images* split : {&dataset.train, &dataset.test}) {
        ENMESH_ASSERT(static_cast<int64_t>(split->pixels.size()) == split->count() * dataset.image.pixels());
    }
    dataset.normalization = normalization_of(dataset.train, dataset.image, dataset.pixel_max);
    return dataset;
}

}  // namespace enmesh::data
