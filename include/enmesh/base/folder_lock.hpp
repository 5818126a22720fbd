#pragma once

#include <filesystem>

namespace enmesh {

/// Holds a folder for the one process that writes into it, as long as this lives: two that append to the same
/// files would spoil both. The lock ends with the process, however it ends, and leaves no file. Refuses a
/// folder that another process holds; file systems that know no locks are not guarded.
class FolderLock {
  public:
    explicit FolderLock(const std::filesystem::path& folder);
    ~FolderLock();
    FolderLock(FolderLock&& other) noexcept;
    FolderLock& operator=(FolderLock&&) = delete;
    FolderLock(const FolderLock&) = delete;

  private:
    int descriptor_ = -1;
};

}  // namespace enmesh
