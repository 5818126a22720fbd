#include "enmesh/report/append_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "enmesh/base/error.hpp"

namespace enmesh::report {

AppendFile::AppendFile(const std::filesystem::path& path, uint64_t keep_bytes)
    : path_(path), bytes_(keep_bytes) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("{}: cannot be written ({})", path_.string(), std::strerror(errno));
    const auto end = static_cast<off_t>(bytes_);
    if (::ftruncate(descriptor_, end) != 0 || ::lseek(descriptor_, end, SEEK_SET) != end) {
        const int reason = errno;
        ::close(descriptor_);
        fail("{}: cannot be written ({})", path_.string(), std::strerror(reason));
    }
}

AppendFile::~AppendFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_(other.bytes_) {}

void AppendFile::sync() {
    if (::fdatasync(descriptor_) != 0 && errno != EINVAL)
        fail("{}: cannot be written ({})", path_.string(), std::strerror(errno));
}

void AppendFile::append(std::string_view record) {
    std::string_view left = record;
    while (!left.empty()) {
        const ssize_t written = ::write(descriptor_, left.data(), left.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            const int reason = errno;
            // Best effort: whoever reads the file copes with a short last record as well.
            const bool taken_back = ::ftruncate(descriptor_, static_cast<off_t>(bytes_)) == 0 &&
                                    ::lseek(descriptor_, static_cast<off_t>(bytes_), SEEK_SET) >= 0;
            fail("{}: cannot be written ({}){}", path_.string(), std::strerror(reason),
                 taken_back ? "" : "; its last record is incomplete");
        }
        left.remove_prefix(static_cast<size_t>(written));
    }
    bytes_ += record.size();
}

}  // namespace enmesh::report
