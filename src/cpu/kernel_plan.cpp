#include "enmesh/cpu/kernel_plan.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/streaming.hpp"
#include "enmesh/cpu/kernels.hpp"
#include "enmesh/products/kernel.hpp"

namespace enmesh::cpu {

using nlohmann::json;

namespace {

using Sections = std::map<std::string, std::map<std::string, std::string>>;

Sections read_sections(const std::filesystem::path& path) {
    std::error_code code;
    if (path.empty() || !std::filesystem::exists(path, code)) return {};
    try {
        return json::parse(read_file(path, size_t{1} << 26)).get<Sections>();
    } catch (const std::exception&) {
        return {};
    }
}

/// Held while the cache is read, merged and replaced. The lock is a file of its own, because the cache itself
/// is replaced by another file; it stays behind, empty. Where it cannot be had, saving goes on without it.
class CacheLock {
  public:
    explicit CacheLock(const std::filesystem::path& cache)
        : descriptor_(::open((cache.string() + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
        while (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
        }
    }
    ~CacheLock() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    CacheLock(const CacheLock&) = delete;
    CacheLock& operator=(const CacheLock&) = delete;

  private:
    int descriptor_;
};

}  // namespace

std::string to_text(const KernelPlan& plan) {
    return json{{"layout", plan.layout}, {"kernels", plan.kernels}}.dump();
}

KernelPlan parse_kernel_plan(std::string_view text) {
    try {
        const json parsed = json::parse(text);
        const auto layout = parsed.at("layout").get<std::string>();
        if (!layout.empty() && layout != "channels" && layout != "images")
            refuse("the kernel plan cannot be read: unknown layout '{}'", layout);
        return {layout, parsed.at("kernels").get<std::map<std::string, std::string>>()};
    } catch (const json::exception&) {
        refuse(
            "the kernel plan cannot be read: it is no JSON object with \"layout\" and \"kernels\", product "
            "to kernel");
    }
}

KernelChoice parse_kernel_choice(std::string_view text) {
    const std::vector<std::string> known{"default", "cached", "measure"};
    for (size_t i = 0; i < known.size(); ++i) {
        if (known[i] == text) return static_cast<KernelChoice>(i);
    }
    refuse("unknown plan '{}'{}", text, suggestion(text, known));
}

std::filesystem::path KernelCache::default_path() {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return std::filesystem::path(value == nullptr ? "" : value);
    };
    if (const auto own = variable("ENMESH_CACHE_DIR"); !own.empty()) return own / "kernels.json";
    if (const auto xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg / "enmesh" / "kernels.json";
    if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "enmesh" / "kernels.json";
    return {};
}

KernelCache::KernelCache(std::filesystem::path path) : path_(std::move(path)) {
    section_ = fmt::format("{}, {}, {} threads, {}{}", cpu_description(), to_string(isa()), threads(),
                           onednn_version(), products::winograd_allowed() ? "" : ", without Winograd");
    if (streaming() != Streaming::by_size) section_ += ", streaming " + to_string(streaming());
    sections_ = read_sections(path_);
}

std::string KernelCache::find(const std::string& product) const {
    const auto section = sections_.find(section_);
    if (section == sections_.end()) return "";
    const auto kernel = section->second.find(product);
    return kernel == section->second.end() ? "" : kernel->second;
}

void KernelCache::remember(const std::string& product, const std::string& kernel) {
    sections_[section_][product] = kernel;
    changed_ = true;
}

void KernelCache::save() {
    if (!changed_ || path_.empty()) return;
    changed_ = false;
    try {
        make_writable_directory(path_.parent_path());
        const CacheLock lock(path_);
        // What other processes saved since this one read the file stays.
        Sections merged = read_sections(path_);
        for (const auto& [product, kernel] : sections_[section_]) merged[section_][product] = kernel;
        sections_ = std::move(merged);
        write_file(path_, json(sections_).dump(2) + "\n");
    } catch (const Error& error) {
        fmt::print(stderr,
                   "enmesh: note: the kernel cache is not saved, kernels will be measured again: {}\n",
                   error.what());
    }
}

}  // namespace enmesh::cpu
