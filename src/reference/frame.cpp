#include "reference/frame.hpp"

namespace enmesh::reference {

void Array::clear() {
    const NmSparsity* const sparse = type.nm();
    if (sparse == nullptr) {
        data.assign(static_cast<size_t>(elements()), 0.0);
        return;
    }
    const GroupLines geometry = group_lines(type.shape, sparse->axis);
    const int64_t groups = geometry.length / sparse->pattern.m, tail = geometry.length % sparse->pattern.m;
    const int64_t kept = geometry.lines * groups * sparse->pattern.n;
    data.assign(static_cast<size_t>(kept + geometry.lines * tail), 0.0);
    indices.resize(static_cast<size_t>(kept));
    for (size_t i = 0; i < indices.size(); ++i)
        indices[i] = static_cast<uint8_t>(i % static_cast<size_t>(sparse->pattern.n));
}

std::vector<double> densified(const Array& array) {
    std::vector<double> dense(static_cast<size_t>(array.elements()), 0.0);
    for_each_stored(array, [&](int64_t i, double value) { dense[static_cast<size_t>(i)] = value; });
    return dense;
}

std::vector<float> as_floats(const Array& array) { return {array.data.begin(), array.data.end()}; }

std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& broadcast) {
    std::vector<int64_t> strides(static_cast<size_t>(broadcast.rank()), 0);
    int64_t stride = 1;
    for (int axis = 1; axis <= shape.rank(); ++axis) {
        if (shape[-axis] != 1) strides[strides.size() - static_cast<size_t>(axis)] = stride;
        stride *= shape[-axis];
    }
    return strides;
}

}  // namespace enmesh::reference
