#include "enmesh/tensor/shape.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh {

void Shape::refuse_elements() const {
    refuse("the shape {} has more elements than 64 bits can count", to_string(*this));
}

std::string to_string(const Shape& shape) {
    if (shape.rank() == 0) return "scalar";
    std::string text;
    for (const int64_t dim : shape) text += (text.empty() ? "" : "x") + std::to_string(dim);
    return text;
}

}  // namespace enmesh
