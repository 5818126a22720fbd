#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "onnx/messages.hpp"

namespace enmesh::onnx {

/// A model in memory: external data have been brought into its tensors.
struct ModelFile {
    proto::ModelProto model;
    std::filesystem::path path;
    std::vector<std::filesystem::path> external;  ///< canonical paths of the external data that it came with
    size_t bytes = 0;  ///< of the file and its external data: what bounds the memory of an import
};

/// Parses the file, reads external data, checks versions.
ModelFile read_model(const std::filesystem::path& path);

/// Writes the model, and its larger tensors to FILE.data where `external` says so or it would exceed what one
/// message may hold. Neither file changes before both are written.
void write_model(const std::filesystem::path& path, proto::ModelProto model, bool external);

/// Refuses to write `path` where it, or PATH.data, is external data that the other was read from.
void require_apart(const std::filesystem::path& path, const ModelFile& from);

/// Operator sets of the standard domain whose operators mean here what they mean there.
constexpr int64_t oldest_opset = 8, newest_opset = 28;
int64_t opset_of(const proto::ModelProto& model);

}  // namespace enmesh::onnx
