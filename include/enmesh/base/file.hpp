#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace enmesh {

/// The whole file; a pipe or a device to its end. Refuses a missing file, a directory, and more than
/// `max_bytes`, of a pipe or a device more than 1 GiB.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 40);

/// A file that appears whole or not at all: written under a temporary name in the same folder, fsynced and
/// renamed by commit(); removed if commit() is never reached. A new file has the mode 0666 less the umask,
/// one that is replaced keeps its mode. A symbolic link is followed; a device or a pipe is written to as it
/// is. Every I/O error throws Error{failure} naming the path and the reason.
class AtomicFile {
  public:
    explicit AtomicFile(std::filesystem::path path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(const void* data, size_t bytes);
    void write(std::string_view text) { write(text.data(), text.size()); }
    void commit();

  private:
    std::filesystem::path path_;
    std::filesystem::path temporary_;  ///< empty for a device or a pipe
    int descriptor_ = -1;
};

/// AtomicFile in one call.
void write_file(const std::filesystem::path& path, std::string_view text);

/// Creates the folder and its parents; refuses what require_writable_directory refuses.
void make_writable_directory(const std::filesystem::path& directory);

}  // namespace enmesh
