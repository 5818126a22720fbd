#include "onnx/import/shape_rules.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::onnx {

std::vector<int64_t> integers_of(const Constant& constant, std::string_view what) {
    if (constant.real() || constant.shape.rank() > 1) refuse("its {} are no list of integers", what);
    return constant.integers();
}

SliceLists slice_lists(const NodeView& node, const Constant* starts, const Constant* ends,
                       const Constant* axes, const Constant* steps) {
    const auto list = [&](const Constant* input, const char* name) {
        return input != nullptr ? std::optional(integers_of(*input, name)) : node.integers(name);
    };
    const auto begin = list(starts, "starts"), end = list(ends, "ends");
    if (!begin.has_value() || !end.has_value()) refuse("its starts or ends are missing");
    SliceLists lists{*begin, *end, {}, std::vector<int64_t>(begin->size(), 1)};
    for (size_t i = 0; i < begin->size(); ++i) lists.axes.push_back(static_cast<int64_t>(i));
    if (const auto given = list(axes, "axes")) lists.axes = *given;
    if (steps != nullptr) lists.steps = integers_of(*steps, "steps");
    if (end->size() != begin->size() || lists.axes.size() != begin->size() ||
        lists.steps.size() != begin->size())
        refuse("starts, ends, axes and steps differ in length");
    return lists;
}

SliceRange slice_range(int64_t extent, int64_t start, int64_t end, int64_t step) {
    if (step < 1) refuse("a slice with step {}: only positive steps are supported", step);
    const auto clamp = [&](int64_t at) {
        return std::clamp<int64_t>(at < 0 ? std::max<int64_t>(at, -extent) + extent : at, 0, extent);
    };
    const int64_t begin = clamp(start), stop = clamp(end);
    return {begin, stop > begin ? (stop - begin - 1) / step + 1 : 0, step};
}

Shape reshape_target(const Shape& src, const std::vector<int64_t>& target, bool allow_zero) {
    std::vector<int64_t> dims = target;
    int open = -1;
    for (size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] == 0 && !allow_zero) {
            if (static_cast<int>(i) >= src.rank())
                refuse("target shape copies axis {} of {}", i, to_string(src));
            dims[i] = src[static_cast<int>(i)];
        }
        if (dims[i] == -1 && open < 0) {
            open = static_cast<int>(i);
            dims[i] = 1;
        }
    }
    const int64_t known = checked_elements(dims, int64_t{1} << 40);
    if (open >= 0) {
        if (known == 0 || src.elements() % known != 0)
            refuse("shape {} cannot become {}", to_string(src), to_string(Shape(target)));
        dims[static_cast<size_t>(open)] = src.elements() / known;
    } else if (known != src.elements()) {
        refuse("shape {} cannot become {}", to_string(src), to_string(Shape(target)));
    }
    return Shape(std::move(dims));
}

Shape squeezed(const Shape& src, const std::optional<std::vector<int64_t>>& axes) {
    std::vector<bool> gone(static_cast<size_t>(src.rank()), false);
    for (int i = 0; i < src.rank() && !axes.has_value(); ++i) gone[static_cast<size_t>(i)] = src[i] == 1;
    for (const int64_t axis : axes.value_or(std::vector<int64_t>{})) {
        const auto at = static_cast<int>(normal_axis(axis, src.rank()));
        if (src[at] != 1) refuse("axis {} of {} is not 1", at, to_string(src));
        gone[static_cast<size_t>(at)] = true;
    }
    std::vector<int64_t> dims;
    for (int i = 0; i < src.rank(); ++i) {
        if (!gone[static_cast<size_t>(i)]) dims.push_back(src[i]);
    }
    return Shape(std::move(dims));
}

Shape unsqueezed(const Shape& src, std::vector<int64_t> axes) {
    const int rank = src.rank() + static_cast<int>(axes.size());
    if (axes.size() > most_axes || rank > static_cast<int>(most_axes))
        refuse("{} more axes for rank {}", axes.size(), src.rank());
    for (int64_t& axis : axes) axis = normal_axis(axis, rank);
    std::sort(axes.begin(), axes.end());
    if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) refuse("an axis is named twice");
    std::vector<int64_t> dims = src.dims();
    for (const int64_t axis : axes) dims.insert(dims.begin() + axis, 1);
    return Shape(std::move(dims));
}

std::vector<int64_t> split_extents(const NodeView& node, const Constant* sizes, int64_t extent) {
    const int outputs = node.proto().output_size();
    const auto given =
        sizes != nullptr ? std::optional(integers_of(*sizes, "sizes")) : node.integers("split");
    if (given.has_value()) {
        std::vector<int64_t> result = *given;
        if (result.size() > static_cast<size_t>(outputs))
            refuse("{} sizes for {} outputs", result.size(), outputs);
        int64_t rest = extent;
        for (const int64_t size : result) {
            if (size < 0 || size > rest) refuse("its sizes do not add up to an extent of {}", extent);
            rest -= size;
        }
        if (rest != 0) refuse("its sizes do not add up to an extent of {}", extent);
        return result;
    }
    const int64_t parts = node.integer("num_outputs", outputs);
    if (parts > outputs) refuse("{} parts for {} outputs", parts, outputs);
    if (parts < 1 || parts > extent || parts > 4096)
        refuse("an extent of {} cannot be split into {} parts", extent, parts);
    const int64_t each = (extent + parts - 1) / parts;
    std::vector<int64_t> result(static_cast<size_t>(parts), each);
    result.back() = extent - each * (parts - 1);
    if (result.back() < 1) refuse("an extent of {} cannot be split into {} parts", extent, parts);
    return result;
}

}  // namespace enmesh::onnx
