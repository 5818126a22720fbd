#include <algorithm>
#include <charconv>
#include <numeric>

#include "data/byte_reader.hpp"
#include "data/embedded.hpp"
#include "data/readers.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/data/loader.hpp"

namespace enmesh::data {
namespace {

constexpr int64_t digit_pixels = 64;
constexpr int64_t train_count = 1437, digit_count = 1797;

/// The next number of a comma-separated line; moves `at` behind the separator.
int next_number(const char*& at, const char* end) {
    int value = -1;
    const auto [after, error] = std::from_chars(at, end, value);
    ENMESH_ASSERT(error == std::errc{} && after < end && (*after == ',' || *after == '\n'));
    at = after + 1;
    return value;
}

/// All images in the file's order.
Images embedded_images() {
    ByteReader reader("embedded digits", std::string(embedded_digits()));
    std::string text(1 << 20, '\0');
    text.resize(reader.read({reinterpret_cast<uint8_t*>(text.data()), text.size()}));
    ENMESH_ASSERT(reader.at_end());
    const size_t header = text.find('\n');
    ENMESH_ASSERT(header != std::string::npos);
    const char* at = text.data() + header + 1;
    const char* const end = text.data() + text.size();
    Images images;
    while (at < end) {
        for (int64_t pixel = 0; pixel < digit_pixels; ++pixel) {
            const int value = next_number(at, end);
            ENMESH_ASSERT(value >= 0 && value <= 16);
            images.pixels.push_back(static_cast<uint8_t>(value));
        }
        images.labels.push_back(next_number(at, end));
    }
    ENMESH_ASSERT(images.count() == digit_count);
    return images;
}

Images selected(const Images& images, std::span<const uint32_t> order) {
    Images chosen;
    for (const uint32_t index : order) {
        const auto from = images.pixels.begin() + index * digit_pixels;
        chosen.pixels.insert(chosen.pixels.end(), from, from + digit_pixels);
        chosen.labels.push_back(images.labels[index]);
    }
    return chosen;
}

}  // namespace

Dataset digits(uint64_t split_seed) {
    const Images all = embedded_images();
    const std::vector<uint32_t> order = epoch_order(split_seed, 0, digit_count);
    Dataset dataset;
    dataset.name = "digits";
    dataset.image = {1, 8, 8};
    dataset.pixel_max = 16;
    for (int digit = 0; digit < 10; ++digit) dataset.class_names.push_back(fmt::format("{}", digit));
    dataset.train = selected(all, std::span(order).first(train_count));
    dataset.test = selected(all, std::span(order).subspan(train_count));
    check_labels(dataset.train.labels, 10, "embedded digits");
    check_labels(dataset.test.labels, 10, "embedded digits");
    return finished(std::move(dataset));
}

}  // namespace enmesh::data
