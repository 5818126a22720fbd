#include "enmesh/base/streaming.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

constexpr int64_t default_cache = int64_t{32} << 20;

// A large cache is shared by many cores, of which a virtual machine may see two and be told of all of it.
// With 300 MiB reported, results of 16 and 32 MiB were written faster past the caches, those of 8 MiB as fast
// (docs/results/kernels.md).
constexpr int64_t largest_kept = int64_t{16} << 20;

Streaming streaming_from_environment() {
    const char* const text = std::getenv("ENMESH_STREAMING");
    if (text == nullptr || *text == '\0') return Streaming::by_size;
    for (const Streaming candidate : {Streaming::by_size, Streaming::never, Streaming::always}) {
        if (to_string(candidate) == text) return candidate;
    }
    refuse("ENMESH_STREAMING='{}' is unknown (known: by_size, never, always)", text);
}

std::atomic<Streaming>& current() {
    static std::atomic<Streaming> value{streaming_from_environment()};
    return value;
}

std::string first_word(const std::filesystem::path& file) {
    std::ifstream stream(file);
    std::string word;
    stream >> word;
    return word;
}

/// "307200K", "32M" or "65536" as bytes; 0 if it is anything else.
int64_t bytes_of(const std::string& text) {
    int64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, code] = std::from_chars(text.data(), end, value);
    if (code != std::errc() || value < 0 || value > (int64_t{1} << 40)) return 0;
    if (rest == end) return value;
    if (rest + 1 != end) return 0;
    if (*rest == 'K') return value << 10;
    if (*rest == 'M') return value << 20;
    return 0;
}

}  // namespace

std::string to_string(Streaming streaming) {
    switch (streaming) {
        case Streaming::by_size:
            return "by_size";
        case Streaming::never:
            return "never";
        case Streaming::always:
            return "always";
    }
    return "by_size";
}

int64_t last_level_cache_bytes(const std::filesystem::path& folder) {
    std::error_code code;
    int64_t bytes = 0;
    int level = 0;
    for (std::filesystem::directory_iterator entry(folder, code), end; !code && entry != end;
         entry.increment(code)) {
        const std::string text = first_word(entry->path() / "level");
        if (text.size() != 1 || text[0] < '1' || text[0] > '9') continue;
        if (text[0] - '0' < level || first_word(entry->path() / "type") == "Instruction") continue;
        const int64_t size = bytes_of(first_word(entry->path() / "size"));
        if (size == 0) continue;
        level = text[0] - '0';
        bytes = size;
    }
    return bytes;
}

int64_t last_level_cache_bytes() {
    static const int64_t bytes = [] {
        const int64_t found = last_level_cache_bytes("/sys/devices/system/cpu/cpu0/cache");
        return found > 0 ? found : default_cache;
    }();
    return bytes;
}

void set_streaming(Streaming streaming) { current() = streaming; }

Streaming streaming() { return current(); }

int64_t streaming_bytes(int64_t last_level_cache) { return std::min(last_level_cache / 2, largest_kept); }

bool streams(int64_t bytes) {
    if (streaming() != Streaming::by_size) return streaming() == Streaming::always;
    return bytes >= streaming_bytes(last_level_cache_bytes());
}

void finish_streaming() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

}  // namespace enmesh
