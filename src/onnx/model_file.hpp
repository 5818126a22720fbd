#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "onnx/messages.hpp"

namespace enmesh::onnx {

/// A model in memory: external data have been brought into its tensors.
struct ModelFile {
    proto::ModelProto model;
    std::filesystem::path path;
    bool external = false;  ///< it came with external data
    size_t bytes = 0;       ///< of the file and its external data: what bounds the memory of an import
};

/// Parses the file, reads external data, checks versions.
ModelFile read_model(const std::filesystem::path& path);

/// Writes the model, and its larger tensors to FILE.data where `external` says so or it would exceed what one
/// message may hold.
void write_model(const std::filesystem::path& path, proto::ModelProto model, bool external);

/// Operator sets of the standard domain whose operators mean here what they mean there.
constexpr int64_t oldest_opset = 13, newest_opset = 28;
int64_t opset_of(const proto::ModelProto& model);

}  // namespace enmesh::onnx
