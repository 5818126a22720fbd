#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace enmesh::data {

/// One file of a published data set.
struct RemoteFile {
    std::string name;
    std::string checksum;  ///< lower-case hexadecimal: SHA-256 (64 digits) or MD5 (32 digits)
};

struct Remote {
    std::string kind;  ///< also the kind of `--data` that reads the result
    std::string url;   ///< the folder that holds the files
    std::vector<RemoteFile> files;
    bool unpack = false;  ///< a tar.gz whose data files are wanted, not the archive
};

/// The data sets that can be fetched, with their official addresses and checksums.
std::span<const Remote> remotes();
const Remote& remote(std::string_view kind);

struct FetchProgress {
    std::string_view file;
    int64_t bytes = 0;
    int64_t total_bytes = 0;  ///< 0 when unknown
    bool present = false;     ///< already there and right: nothing was downloaded
};

struct FetchOptions {
    std::string url;  ///< instead of the official address: a folder, or the file where it is only one
    std::vector<RemoteFile> checksums;                   ///< instead of the official ones, by name
    std::function<bool(const FetchProgress&)> progress;  ///< false stops the download
};

/// Downloads what is not there yet into `directory`: each file under a temporary name, checked, then renamed.
/// A failed download, a wrong checksum or a broken archive is an error and leaves nothing of that file
/// behind.
void fetch(const Remote& remote, const std::filesystem::path& directory, const FetchOptions& options = {});

/// Lines of `sha256sum` or `md5sum`: the checksum, two blanks, the name.
std::vector<RemoteFile> parse_checksums(std::string_view text);

/// SHA-256 or MD5 of a file, whichever has `digits` hexadecimal digits.
std::string file_checksum(const std::filesystem::path& path, size_t digits);

}  // namespace enmesh::data
