#pragma once

#include <array>
#include <span>
#include <vector>

#include "enmesh/step/executor.hpp"
#include "enmesh/tensor/group_lines.hpp"

namespace enmesh::reference {

/// A value at run time. Everything is held as double, which holds every f32, i32 and u8 exactly. Dense: data
/// in row-major order. N:M: data = kept values [line][group][n], then tails [line][tail], and the kept
/// values' positions in their groups, ascending.
struct Array {
    ValueType type;
    std::vector<double> data;
    std::vector<uint8_t> indices;

    /// Sized for the type and zero.
    void clear();
    int64_t elements() const { return type.shape.elements(); }
    double operator[](int64_t i) const { return data[static_cast<size_t>(i)]; }
    double& operator[](int64_t i) { return data[static_cast<size_t>(i)]; }
};

/// visit(offset in the dense row-major tensor, value) for every stored element: all of a dense array, the
/// kept ones and the tails of an N:M array.
template <typename Visit>
void for_each_stored(const Array& array, const Visit& visit) {
    const NmSparsity* const sparse = array.type.nm();
    if (sparse == nullptr) {
        for (int64_t i = 0; i < array.elements(); ++i) visit(i, array[i]);
        return;
    }
    const GroupLines geometry = group_lines(array.type.shape, sparse->axis);
    const int64_t n = sparse->pattern.n, m = sparse->pattern.m;
    const int64_t groups = geometry.length / m, tail = geometry.length % m;
    const int64_t kept = geometry.lines * groups * n;
    for (int64_t line = 0; line < geometry.lines; ++line) {
        for (int64_t group = 0; group < groups; ++group) {
            for (int64_t j = 0; j < n; ++j) {
                const int64_t at = (line * groups + group) * n + j;
                visit(geometry.offset(line, group * m + array.indices[static_cast<size_t>(at)]), array[at]);
            }
        }
        for (int64_t i = 0; i < tail; ++i)
            visit(geometry.offset(line, groups * m + i), array[kept + line * tail + i]);
    }
}

/// The dense form, zeros where nothing was kept.
std::vector<double> densified(const Array& array);
/// The same elements as float: what selection rules that are shared with other executors take.
std::vector<float> as_floats(const Array& array);

/// One node's operands while it runs. Outputs are cleared, unless they are stored where an input is.
struct Frame {
    std::vector<const Array*> inputs;
    std::vector<Array*> outputs;
    RunContext context;
    bool refreshing = false;  ///< run by refresh(): nothing but packing happens

    const Array& in(size_t index) const { return *inputs[index]; }
    Array& out(size_t index = 0) const { return *outputs[index]; }
    const Shape& shape(size_t input) const { return in(input).type.shape; }
};

/// Row-major strides of `shape` seen through `broadcast` (NumPy rules): 0 along the axes that are repeated.
std::vector<int64_t> broadcast_strides(const Shape& shape, const Shape& broadcast);

/// visit(i, offset) for every element i of `shape` in row-major order, with the offset that `strides` give.
template <typename Visit>
void for_each_strided(const Shape& shape, const std::vector<int64_t>& strides, const Visit& visit) {
    std::vector<int64_t> index(strides.size(), 0);
    int64_t offset = 0;
    for (int64_t i = 0; i < shape.elements(); ++i) {
        visit(i, offset);
        for (size_t axis = index.size(); axis-- > 0;) {
            offset += strides[axis];
            if (++index[axis] < shape[static_cast<int>(axis)]) break;
            offset -= strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
}

}  // namespace enmesh::reference
