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

int64_t ValueType::bytes() const {
    const int64_t width = static_cast<int64_t>(size_of(dtype));
    if (const NmSparsity* const sparse = nm()) {
        const GroupLines geometry = group_lines(shape, sparse->axis);
        const int64_t groups = geometry.length / sparse->pattern.m;
        const int64_t tail = geometry.length % sparse->pattern.m;
        return geometry.lines * (groups * sparse->pattern.n * (width + 1) + tail * width);
    }
    return shape.elements() * width;
}

std::string to_string(const ValueType& type) {
    std::string text = to_string(type.dtype) + " " + to_string(type.shape);
    if (const NmSparsity* const sparse = type.nm()) {
        text += fmt::format(" {} along {}", to_string(sparse->pattern), to_string(sparse->axis));
    }
    return text;
}

}  // namespace enmesh
