#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "support/folder.hpp"

namespace enmesh::testing {

/// An environment variable for the length of a scope.
class Variable {
  public:
    Variable(const char* name, const std::string& value) : name_(name) {
        if (const char* const before = std::getenv(name); before != nullptr) before_ = before;
        ::setenv(name, value.c_str(), 1);
    }
    ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

  private:
    const char* name_;
    std::optional<std::string> before_;
};

/// A folder that KernelCache's default path names, empty at first.
class CacheFolder {
  public:
    std::filesystem::path file() const { return folder_ / "kernels.json"; }

  private:
    TemporaryFolder folder_;
    Variable variable_{"ENMESH_CACHE_DIR", folder_.path().string()};
};

}  // namespace enmesh::testing
