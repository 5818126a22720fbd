#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

// Linked into every test program: the kernel choices that a test measures or reads, itself or in a program that
// it starts, lie in a folder of its own. Nothing makes the folder before something is remembered.

namespace {

class OwnCache {
  public:
    OwnCache() { ::setenv("ENMESH_CACHE_DIR", path_.c_str(), 1); }
    ~OwnCache() {
        if (::getpid() != owner_) return;  // a child that a test forked
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

  private:
    pid_t owner_ = ::getpid();
    std::string path_ =
        (std::filesystem::temp_directory_path() / ("enmesh-test-cache-" + std::to_string(owner_))).string();
};

const OwnCache own_cache;

}  // namespace
