#pragma once

#include <string_view>

namespace enmesh::data {

/// data/digits/digits.csv.gz, as it is.
std::string_view embedded_digits();

}  // namespace enmesh::data
