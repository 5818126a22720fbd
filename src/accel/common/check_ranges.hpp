#pragma once

#include <span>

#include "enmesh/accel/common/ranges.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {

/// Refuses the first parameter of `engine` outside its range.
template <typename Engine>
void check_ranges(std::string_view engine, const Engine& values,
                  std::span<const ParameterRange<Engine>> ranges) {
    for (const auto& [name, field, least, most] : ranges)
        if (values.*field < least || values.*field > most)
            refuse("{}.{} is {}: it must be {}..{}", engine, name, values.*field, least, most);
}

/// The row of a parameter.
template <typename Engine>
const ParameterRange<Engine>& range_of(std::span<const ParameterRange<Engine>> ranges, int Engine::*field) {
    for (const ParameterRange<Engine>& range : ranges)
        if (range.field == field) return range;
    ENMESH_ASSERT(!"a parameter without a range");
    return ranges.front();
}

}  // namespace enmesh::accel
