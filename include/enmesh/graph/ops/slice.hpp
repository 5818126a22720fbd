#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Elements begin, begin + step, … below end of one axis.
struct Slice {
    static constexpr std::string_view name = "slice";
    int64_t axis = 0;
    int64_t begin = 0;
    int64_t end = 0;
    int64_t step = 1;

    static constexpr auto fields() {
        return std::tuple{field("axis", &Slice::axis), field("begin", &Slice::begin),
                          field("end", &Slice::end), field("step", &Slice::step)};
    }
    bool operator==(const Slice&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Zeros of shape src with diff_dst in the sliced place. Input diff_dst.
struct SliceBackward {
    static constexpr std::string_view name = "slice_backward";
    Slice slice;
    Shape src;

    static constexpr auto fields() {
        return std::tuple{field("slice", &SliceBackward::slice), field("src", &SliceBackward::src)};
    }
    bool operator==(const SliceBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};
std::string attribute_text(const Slice& slice);

}  // namespace enmesh
