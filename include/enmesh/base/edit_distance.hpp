#pragma once

#include <cstddef>
#include <string_view>

namespace enmesh {

/// Letters to insert, remove or replace to turn a into b.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace enmesh
