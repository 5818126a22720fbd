#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "enmesh/onnx/import.hpp"

namespace enmesh::onnx {

/// The values of parameters and states, by their names in the graph.
using TensorSource = std::function<Tensor(const Value& value)>;

/// Each value's first one: what an imported graph or Trainer::model() carries.
TensorSource initial_values(uint64_t seed = 0);

struct ExportOptions {
    bool external_data = false;  ///< weights in FILE.data beside the model; always so where they exceed 2 GB
};

/// Where save() puts external data: FILE.data beside the file, where `model` links to another beside that
/// one.
std::filesystem::path written_data(const std::filesystem::path& model);

/// The file that was imported with other weights: names, nodes, dynamic axes and unknown fields stay as they
/// were. Refuses a path where it would overwrite the external data that the model was imported with.
void save(const std::filesystem::path& path, const Model& model, const TensorSource& weights,
          const ExportOptions& options = {});

/// A graph as a new file (operator set 17, dynamic batch): input "images", output "logits", weights by their
/// names, norms on running statistics. Refuses operations that ONNX has no operator for.
void save(const std::filesystem::path& path, const Graph& graph, const TensorSource& weights,
          const ExportOptions& options = {});

}  // namespace enmesh::onnx
