#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "enmesh/accel/workload/workload.hpp"

namespace enmesh::accel {

/// Which products of a workload are meant: all, those of a layer, of a stage, or both.
struct ProductChoice {
    std::string layer;           ///< "": every layer
    std::optional<Stage> stage;  ///< nothing: every stage
};

/// Their places in the workload, in its order. Refuses a choice that means none, naming the nearest layer.
std::vector<size_t> chosen_products(const Workload& workload, const ProductChoice& choice);

}  // namespace enmesh::accel
