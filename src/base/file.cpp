#include "enmesh/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "enmesh/base/error.hpp"
#include "enmesh/base/writable.hpp"

namespace enmesh {
namespace fs = std::filesystem;

namespace {

/// More than anything that is read from a pipe here, and little enough to stop an endless device in time.
constexpr size_t most_of_a_stream = size_t{1} << 30;

/// A pipe, a socket or a device has no size: it is read to its end.
std::string read_stream(const fs::path& path, size_t max_bytes) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) refuse("{}: cannot be read ({})", path.string(), std::strerror(errno));
    std::string text;
    std::array<char, 65536> part{};
    ssize_t count = 0;
    int reason = 0;
    do {
        count = ::read(descriptor, part.data(), part.size());
        if (count > 0) text.append(part.data(), static_cast<size_t>(count));
        reason = count < 0 ? errno : 0;
    } while ((count > 0 && text.size() <= max_bytes) || reason == EINTR);
    ::close(descriptor);
    if (reason != 0) refuse("{}: cannot be read ({})", path.string(), std::strerror(reason));
    if (text.size() > max_bytes)
        refuse("{}: more than the {} bytes that can be read here", path.string(), max_bytes);
    return text;
}

/// Makes a file in `folder` and removes it: 0, or why it cannot. Permissions alone do not tell: there are
/// file systems on which nobody can make a file.
int probe(const fs::path& folder) {
    static std::atomic<int> probes{0};  // threads may try the same folder at once
    const std::string name = (folder / fmt::format(".enmesh-probe-{}-{}", ::getpid(), ++probes)).string();
    const int descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return errno;
    ::close(descriptor);
    ::unlink(name.c_str());
    return 0;
}

/// The longest name that every file system in use takes.
constexpr size_t longest_name = 255;

/// `path` with `end` behind its name, which is cut where the whole would be too long.
fs::path temporary_beside(const fs::path& path, const std::string& end) {
    const std::string name = path.filename().string();
    return path.parent_path() / (name.substr(0, longest_name - std::min(longest_name, end.size())) + end);
}

/// What replaces a file has its mode and, where this process may give files away, its owner and group.
void keep_access(const fs::path& replaced, int descriptor) {
    struct stat before {};
    if (::stat(replaced.c_str(), &before) != 0) return;
    // Before the mode: a change of owner takes set-user-ID bits away. Most users may not, and keep what is
    // theirs.
    if (::fchown(descriptor, before.st_uid, before.st_gid) != 0 &&
        ::fchown(descriptor, static_cast<uid_t>(-1), before.st_gid) != 0)
        errno = 0;
    if (::fchmod(descriptor, before.st_mode & 07777) != 0) errno = 0;
}

bool is_a_wrong_place(int reason) {
    constexpr std::array reasons = {EACCES, EPERM, EROFS,        ENOENT, ENOTDIR, EISDIR,
                                    EEXIST, ELOOP, ENAMETOOLONG, EINVAL, ENXIO,   ETXTBSY};
    return std::find(reasons.begin(), reasons.end(), reason) != reasons.end();
}

[[noreturn]] void refuse_or_fail(int reason, std::string_view what) {
    const std::string message = fmt::format("{} ({})", what, std::strerror(reason));
    throw Error(is_a_wrong_place(reason) ? ErrorKind::request : ErrorKind::failure, message);
}

}  // namespace

fs::path behind_links(fs::path path) {
    std::error_code code;
    for (int links = 0; links < 16 && fs::is_symlink(path, code) && !fs::is_other(path, code); ++links)
        path = path.parent_path() / fs::read_symlink(path, code);
    return path;
}

std::string read_file(const fs::path& path, size_t max_bytes) {
    std::error_code code;
    if (!fs::exists(path, code)) refuse("{}: no such file", path.string());
    if (fs::is_directory(path, code)) refuse("{}: is a directory, a file was expected", path.string());
    if (fs::is_other(path, code)) return read_stream(path, std::min(max_bytes, most_of_a_stream));
    const auto bytes = fs::file_size(path, code);
    if (code) refuse("{}: {}", path.string(), code.message());
    if (bytes > max_bytes)
        refuse("{}: {} bytes, more than the {} that can be read here", path.string(), bytes, max_bytes);
    std::ifstream stream(path, std::ios::binary);
    std::string text(bytes, '\0');
    if (!stream.read(text.data(), static_cast<std::streamsize>(bytes))) {
        refuse("{}: cannot be read ({})", path.string(), std::strerror(errno));
    }
    return text;
}

AtomicFile::AtomicFile(fs::path path) : path_(behind_links(std::move(path))) {
    std::error_code code;
    const fs::file_status status = fs::status(path_, code);
    if (fs::is_character_file(status) || fs::is_block_file(status) || fs::is_fifo(status) ||
        fs::is_socket(status)) {
        descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    } else {
        static std::atomic<int> files{0};  // threads may write the same file at once
        temporary_ = temporary_beside(path_, fmt::format(".tmp{}-{}", ::getpid(), ++files));
        // Nobody may read a part of what only some may read.
        const bool replaces = fs::is_regular_file(status);
        descriptor_ =
            ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, replaces ? 0600 : 0666);
        if (descriptor_ >= 0 && replaces) keep_access(path_, descriptor_);
    }
    if (descriptor_ < 0) fail("{}: cannot be written ({})", path_.string(), std::strerror(errno));
}

AtomicFile::~AtomicFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t written = ::write(descriptor_, from, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail("{}: cannot be written ({})", path_.string(), std::strerror(errno));
        from += written;
        bytes -= static_cast<size_t>(written);
    }
}

void AtomicFile::commit() {
    if (temporary_.empty()) {
        const int closed = ::close(descriptor_);
        descriptor_ = -1;
        if (closed != 0) fail("{}: cannot be written ({})", path_.string(), std::strerror(errno));
        return;
    }
    if (::fsync(descriptor_) != 0) fail("{}: cannot be written ({})", path_.string(), std::strerror(errno));
    const int closed = ::close(descriptor_);
    descriptor_ = -1;
    if (closed != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
        const int reason = errno;
        ::unlink(temporary_.c_str());
        fail("{}: cannot be written ({})", path_.string(), std::strerror(reason));
    }
    const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
    if (const int handle = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); handle >= 0) {
        ::fsync(handle);
        ::close(handle);
    }
}

void write_file(const fs::path& path, std::string_view text) {
    AtomicFile file(path);
    file.write(text);
    file.commit();
}

void require_writable_file(const fs::path& path) {
    const fs::path target = behind_links(path);
    std::error_code code;
    const fs::file_status status = fs::status(target, code);
    if (fs::is_directory(status)) refuse("{}: cannot be written (it is a folder)", path.string());
    if (fs::exists(status) && !fs::is_regular_file(status)) {
        if (::access(target.c_str(), W_OK) == 0) return;
        refuse_or_fail(errno, fmt::format("{}: cannot be written", path.string()));
    }
    const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
    if (!fs::is_directory(folder, code))
        refuse("{}: cannot be written ({} is no folder)", path.string(), folder.string());
    if (const int reason = probe(folder); reason != 0)
        refuse_or_fail(reason, fmt::format("{}: cannot be written", path.string()));
}

void require_writable_directory(const fs::path& directory) {
    const fs::path wanted = directory.empty() ? fs::path(".") : directory;
    fs::path there = wanted;
    const auto refuse_because = [&](const char* why) {
        if (there == wanted) refuse("{}: {}", wanted.string(), why);
        refuse("{}: the directory cannot be made ({} {})", wanted.string(), there.string(), why);
    };
    std::error_code code;
    while (!fs::exists(there, code)) {
        if (fs::is_symlink(fs::symlink_status(there, code)))
            refuse_because("is a link to what does not exist");
        const fs::path above = there.parent_path();
        there = above.empty() || above == there ? fs::path(".") : above;
    }
    if (!fs::is_directory(there, code)) refuse_because("is not a directory");
    const int reason = probe(there);
    if (reason == 0) return;
    if (there == wanted)
        refuse_or_fail(reason, fmt::format("{}: the directory cannot be written to", wanted.string()));
    refuse_or_fail(reason,
                   fmt::format("{}: the directory cannot be made in {}", wanted.string(), there.string()));
}

void make_writable_directory(const fs::path& directory) {
    require_writable_directory(directory);
    if (directory.empty()) return;
    std::error_code code;
    fs::create_directories(directory, code);
    if (code)
        refuse_or_fail(code.value(), fmt::format("{}: the directory cannot be made", directory.string()));
}

}  // namespace enmesh
