#pragma once

#include <vector>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// Appends the BP and WG nodes of `loss` to `graph`; the gradient of the loss is `loss_scale`, a scalar,
/// where that is valid, and one otherwise. Returns the gradient of every value, by value index; invalid where
/// there is none.
std::vector<ValueId> differentiate(Graph& graph, ValueId loss, ValueId loss_scale = {});

}  // namespace enmesh
