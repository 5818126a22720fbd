#pragma once

#include <vector>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// Appends the BP and WG nodes of `loss` to `graph`. Returns the gradient of every value, by value index;
/// invalid where there is none.
std::vector<ValueId> differentiate(Graph& graph, ValueId loss);

}  // namespace enmesh
