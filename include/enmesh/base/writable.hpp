#pragma once

#include <filesystem>

namespace enmesh {

// Before the work: a place that does not exist or may not be written to is a wrong request (Error{request});
// a full or a broken disk is a failure, as it is under way.

/// Returns if AtomicFile could write this file; leaves nothing behind.
void require_writable_file(const std::filesystem::path& path);
/// Returns if the folder can be written to or, where it is missing, be made; leaves nothing behind.
void require_writable_directory(const std::filesystem::path& directory);

}  // namespace enmesh
