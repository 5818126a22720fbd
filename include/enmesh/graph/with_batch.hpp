#pragma once

#include <cstdint>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// The same graph for another batch: axis 0 of every input changes, and of what is reshaped.
Graph with_batch(const Graph& graph, int64_t batch);

}  // namespace enmesh
