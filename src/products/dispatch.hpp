#pragma once

#include <string>

namespace enmesh::products {

/// Whether ENMESH_VERBOSE asks for "dispatch".
bool verbose_dispatch();
/// Then one line on standard error about what serves `product`, or why something does not.
void say_dispatch(const std::string& product, const std::string& what);

}  // namespace enmesh::products
