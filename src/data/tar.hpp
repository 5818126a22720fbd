#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace enmesh::data {

/// Writes the regular files of a tar.gz whose last path component is in `names` flat into `directory`, all or
/// none. Refuses a damaged archive and one that lacks a name.
void unpack(const std::filesystem::path& archive, std::span<const std::string> names,
            const std::filesystem::path& directory);

}  // namespace enmesh::data
