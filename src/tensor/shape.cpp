#include "enmesh/tensor/shape.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh {

std::string to_string(const Shape& shape) {
    if (shape.rank() == 0) return "scalar";
    std::string text;
    for (const int64_t dim : shape) text += (text.empty() ? "" : "x") + std::to_string(dim);
    return text;
}

}  // namespace enmesh
