#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace enmesh::report {

/// A file that only grows, one whole record at a time: what append() was given is with the system when it
/// returns, and a record that could not be written (a full disk) is taken back. Errors are Error{failure} and
/// name the file.
class AppendFile {
  public:
    /// Opens or makes the file and cuts it to its first `keep_bytes` bytes.
    AppendFile(const std::filesystem::path& path, uint64_t keep_bytes);
    ~AppendFile();
    AppendFile(AppendFile&& other) noexcept;
    AppendFile& operator=(AppendFile&&) = delete;

    void append(std::string_view record);
    /// Returns when what was appended is on the disk.
    void sync();

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    uint64_t bytes_ = 0;
};

}  // namespace enmesh::report
