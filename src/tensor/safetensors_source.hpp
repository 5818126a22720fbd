#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace enmesh {

/// The files that hold a model's tensors.
struct SafetensorsSource {
    std::vector<std::filesystem::path> files;
    /// Of an index: which of `files` has which tensor. Empty where there is no index.
    std::map<std::string, size_t> tensors;
};

/// `path` itself; of a `*.safetensors.index.json` its parts, beside it (or beside the file that a link leads
/// to); of a folder its index, its `model.safetensors`, or its only safetensors file. Refuses an index that
/// is not well formed or whose parts are missing.
SafetensorsSource safetensors_source(const std::filesystem::path& path);

/// What a file is that begins with these bytes and is no safetensors file, and what to do, in words; "" where
/// they tell nothing.
std::string_view other_format(std::string_view first_bytes);

}  // namespace enmesh
