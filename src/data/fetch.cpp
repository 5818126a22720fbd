#include "enmesh/data/fetch.hpp"

#include <curl/curl.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <sstream>

#include "data/tar.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/data/dataset.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

constexpr size_t sha256_digits = 64, md5_digits = 32;

class Checksum {
  public:
    explicit Checksum(size_t digits) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        ENMESH_ASSERT(digits == sha256_digits || digits == md5_digits);
        const EVP_MD* kind = digits == sha256_digits ? EVP_sha256() : EVP_md5();
        if (!context_ || EVP_DigestInit_ex(context_.get(), kind, nullptr) != 1)
            fail("checksums cannot be computed");
    }
    void add(const void* data, size_t bytes) {
        if (EVP_DigestUpdate(context_.get(), data, bytes) != 1) fail("checksums cannot be computed");
    }
    std::string hex() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
        unsigned int count = 0;
        if (EVP_DigestFinal_ex(context_.get(), bytes.data(), &count) != 1)
            fail("checksums cannot be computed");
        std::string text;
        for (unsigned int i = 0; i < count; ++i) text += fmt::format("{:02x}", bytes[i]);
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

/// One download: what libcurl's callbacks see. Exceptions wait here until libcurl has returned.
struct Transfer {
    AtomicFile file;
    Checksum checksum;
    std::string_view name;
    const FetchOptions& options;
    std::exception_ptr error;
    bool stopped = false;
};

size_t on_data(char* data, size_t size, size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    try {
        transfer.file.write(data, size * count);
        transfer.checksum.add(data, size * count);
        return size * count;
    } catch (...) {
        transfer.error = std::current_exception();
        return CURL_WRITEFUNC_ERROR;
    }
}

int on_progress(void* user, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
    auto& transfer = *static_cast<Transfer*>(user);
    if (!transfer.options.progress) return 0;
    transfer.stopped = !transfer.options.progress({transfer.name, done, total, false});
    return transfer.stopped ? 1 : 0;
}

using Curl = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

Curl make_curl() {
    static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
    Curl curl(global == CURLE_OK ? curl_easy_init() : nullptr, curl_easy_cleanup);
    if (!curl) fail("libcurl cannot be initialised");
    return curl;
}

void download(const std::string& url, const fs::path& to, const RemoteFile& wanted,
              const FetchOptions& options) {
    Transfer transfer{AtomicFile(to), Checksum(wanted.checksum.size()), wanted.name, options, nullptr};
    const Curl curl = make_curl();
    std::array<char, CURL_ERROR_SIZE> reason{};
    curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "https,http,file");
    curl_easy_setopt(curl.get(), CURLOPT_REDIR_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 30L);
    // Below 1 kB/s for a minute counts as broken.
    curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1000L);
    curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, reason.data());
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &transfer);
    const CURLcode code = curl_easy_perform(curl.get());
    if (transfer.error) std::rethrow_exception(transfer.error);
    if (transfer.stopped) fail("{}: the download was stopped; nothing of it was kept", url);
    if (code != CURLE_OK) fail("{}: {}", url, reason[0] != '\0' ? reason.data() : curl_easy_strerror(code));
    const std::string found = transfer.checksum.hex();
    if (found != wanted.checksum) {
        fail("{}: wrong checksum {}, expected {}; nothing of it was kept", url, found, wanted.checksum);
    }
    transfer.file.commit();
}

bool is_present(const fs::path& file, const RemoteFile& wanted) {
    std::error_code code;
    return fs::is_regular_file(file, code) && file_checksum(file, wanted.checksum.size()) == wanted.checksum;
}

/// Whether an earlier fetch left readable data there.
bool is_unpacked(const Remote& remote, const fs::path& directory) {
    try {
        load({remote.kind, directory});
        return true;
    } catch (const Error&) {
        return false;
    }
}

std::string address_of(const Remote& remote, const RemoteFile& file, const FetchOptions& options) {
    const std::string& base = options.url.empty() ? remote.url : options.url;
    if (remote.files.size() == 1 && base.ends_with("/" + file.name)) return base;
    return base + (base.ends_with("/") ? "" : "/") + file.name;
}

RemoteFile with_checksum(const RemoteFile& file, const FetchOptions& options) {
    if (options.checksums.empty()) return file;
    for (const RemoteFile& given : options.checksums) {
        if (given.name == file.name) return given;
    }
    refuse("the given checksums have none for {}", file.name);
}

}  // namespace

std::string file_checksum(const fs::path& path, size_t digits) {
    std::ifstream stream(path, std::ios::binary);
    Checksum checksum(digits);
    std::vector<char> chunk(size_t{1} << 20);
    while (stream.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || stream.gcount() > 0) {
        checksum.add(chunk.data(), static_cast<size_t>(stream.gcount()));
    }
    if (!stream.eof()) refuse("{}: cannot be read", path.string());
    return checksum.hex();
}

std::vector<RemoteFile> parse_checksums(std::string_view text) {
    std::vector<RemoteFile> files;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        if (line.empty()) continue;
        const size_t blank = line.find(' ');
        // The second blank of sha256sum is a '*' for binary reading.
        const size_t name = blank == std::string::npos ? blank : line.find_first_not_of(" *", blank);
        const std::string digits = line.substr(0, blank);
        const bool hex = digits.find_first_not_of("0123456789abcdef") == std::string::npos;
        if (name == std::string::npos || !hex ||
            (digits.size() != sha256_digits && digits.size() != md5_digits)) {
            refuse("'{}' is not a line of sha256sum or md5sum", line);
        }
        files.push_back({fs::path(line.substr(name)).filename().string(), digits});
    }
    if (files.empty()) refuse("no checksums were given");
    return files;
}

void fetch(const Remote& remote, const fs::path& directory, const FetchOptions& options) {
    std::vector<RemoteFile> files;
    for (const RemoteFile& file : remote.files) files.push_back(with_checksum(file, options));
    make_writable_directory(directory);
    const auto present = [&](const RemoteFile& file) {
        if (options.progress) options.progress({file.name, 0, 0, true});
    };
    if (remote.unpack && is_unpacked(remote, directory)) return present(files.front());
    for (const RemoteFile& file : files) {
        const fs::path target = directory / file.name;
        const bool had_it = is_present(target, file);
        if (had_it && !remote.unpack) present(file);
        if (!had_it) download(address_of(remote, file, options), target, file, options);
        if (!remote.unpack) continue;
        struct Remover {
            fs::path path;
            ~Remover() {
                std::error_code code;
                if (!path.empty()) fs::remove(path, code);
            }
        } const remover{had_it ? fs::path() : target};
        static const std::vector<std::string> wanted{"data_batch_1.bin", "data_batch_2.bin",
                                                     "data_batch_3.bin", "data_batch_4.bin",
                                                     "data_batch_5.bin", "test_batch.bin"};
        unpack(target, wanted, directory);
    }
}

}  // namespace enmesh::data
