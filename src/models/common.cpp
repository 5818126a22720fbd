#include "models/common.hpp"

#include <algorithm>
#include <cmath>

#include "enmesh/base/error.hpp"

namespace enmesh::models {
namespace {

constexpr int64_t max_classes = 1'000'000;
constexpr int64_t max_side = 16'384;
constexpr int64_t max_batch = int64_t{1} << 24;
constexpr double max_width = 16;
// With these bounds no element or multiply-add count of any model leaves 64 bits.
constexpr double max_input_elements = 4294967296.0;

void check(const ModelOptions& options) {
    const auto [channels, height, width] = options.image;
    if (options.classes < 1 || options.classes > max_classes)
        refuse("{} classes: 1 to {} are possible", options.classes, max_classes);
    for (const int64_t extent : options.image) {
        if (extent < 1 || extent > max_side)
            refuse("image {}x{}x{}: every extent must be 1 to {}", channels, height, width, max_side);
    }
    if (options.batch < 1 || options.batch > max_batch)
        refuse("a batch of {}: 1 to {} are possible", options.batch, max_batch);
    if (!(options.width > 0 && options.width <= max_width))
        refuse("width {}: a factor above 0 and up to {} is possible", options.width, max_width);
    const double elements = static_cast<double>(options.batch) * static_cast<double>(channels) *
                            static_cast<double>(height) * static_cast<double>(width);
    if (elements > max_input_elements)
        refuse("a batch of {} images of {}x{}x{} is above 2^32 elements", options.batch, channels, height,
               width);
}

}  // namespace

ValueId add_images(GraphBuilder& builder, const ModelOptions& options) {
    check(options);
    const Shape shape{options.batch, options.image[0], options.image[1], options.image[2]};
    return builder.graph().add_input("images", {shape, DType::f32, {}});
}

int64_t scaled(int64_t channels, const ModelOptions& options) {
    return std::max<int64_t>(1, std::llround(static_cast<double>(channels) * options.width));
}

bool small_image(const ModelOptions& options) { return std::max(options.image[1], options.image[2]) <= 64; }

void require_side(std::string_view model, const ModelOptions& options, int64_t pixels) {
    if (std::min(options.image[1], options.image[2]) < pixels) {
        refuse("{} needs images of at least {}x{} pixels, got {}x{}", model, pixels, pixels, options.image[1],
               options.image[2]);
    }
}

}  // namespace enmesh::models
