#pragma once

#include <filesystem>

namespace enmesh {

// Before the work: a place that does not exist or may not be written to is a wrong request (Error{request});
// a full or a broken disk is a failure, as it is under way.

/// Where a file that is written under this name ends up. Links to pipes and devices stay: those in
/// /proc/self/fd (/dev/stdout) name nothing that can be opened.
std::filesystem::path behind_links(std::filesystem::path path);
/// Returns if AtomicFile could write this file; leaves nothing behind.
void require_writable_file(const std::filesystem::path& path);
/// Returns if the folder can be written to or, where it is missing, be made; leaves nothing behind.
void require_writable_directory(const std::filesystem::path& directory);

}  // namespace enmesh
