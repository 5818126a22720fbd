#pragma once

#include <onnx.pb.h>

#include <string>
#include <vector>

namespace enmesh::testing {

/// A small model whose graph is about one operator.
struct SeedGraph {
    std::string name, op_type;
    bool known;  ///< on known values, which are folded; otherwise on maps
    ::onnx::ModelProto model;
};

/// At least one for each operator of the importer, on maps and on known values: where mutations begin.
std::vector<SeedGraph> seed_graphs();

/// Writes them to `folder`, which exists. Throws std::runtime_error where an operator of the importer has
/// none, and where the importer refuses one.
void write_seed_graphs(const std::string& folder);

}  // namespace enmesh::testing
