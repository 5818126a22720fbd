#include "enmesh/tensor/value_type.hpp"

#include "enmesh/base/error.hpp"
#include "enmesh/tensor/group_lines.hpp"

namespace enmesh {

std::string to_string(GroupAxis axis) {
    switch (axis) {
        case GroupAxis::input_channels:
            return "input channels";
        case GroupAxis::output_channels:
            return "output channels";
        case GroupAxis::gradient_channels:
            return "gradient channels";
        case GroupAxis::positions:
            return "positions";
    }
    return "";
}

namespace {

int64_t bytes_of(const ValueType& type, int64_t count, int64_t bytes_each) {
    int64_t bytes = 0;
    if (__builtin_mul_overflow(count, bytes_each, &bytes))
        refuse("{} takes more bytes than 64 bits can count", to_string(type));
    return bytes;
}

}  // namespace

int64_t ValueType::bytes() const {
    const int64_t width = static_cast<int64_t>(size_of(dtype));
    if (const NmSparsity* const sparse = nm()) {
        const GroupLines geometry = group_lines(shape, sparse->axis);
        const int64_t groups = geometry.length / sparse->pattern.m;
        const int64_t tail = geometry.length % sparse->pattern.m;
        // A line has at most shape.elements() elements, which are counted, of at most width + 1 bytes each.
        return bytes_of(*this, geometry.lines, groups * sparse->pattern.n * (width + 1) + tail * width);
    }
    return bytes_of(*this, shape.elements(), width);
}

std::string to_string(const ValueType& type) {
    std::string text = to_string(type.dtype) + " " + to_string(type.shape);
    if (const NmSparsity* const sparse = type.nm()) {
        text += fmt::format(" {} along {}", to_string(sparse->pattern), to_string(sparse->axis));
    }
    return text;
}

}  // namespace enmesh
