#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace enmesh::cli {

/// A file and the option that names it; the path may be empty or "-", which is no file.
struct NamedFile {
    std::string option;
    std::filesystem::path path;
};

/// Refuses, before the work, outputs that would overwrite one another or an input. Devices and pipes hold
/// nothing that could be lost and are not looked at.
void require_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace enmesh::cli
