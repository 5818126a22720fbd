#include "enmesh/cpu/kernel_plan.hpp"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cpu/onednn.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/product.hpp"

namespace enmesh::cpu {

using nlohmann::json;

std::string to_text(const KernelPlan& plan) {
    return json{{"layout", plan.layout}, {"kernels", plan.kernels}}.dump();
}

KernelPlan parse_kernel_plan(std::string_view text) {
    try {
        const json parsed = json::parse(text);
        return {parsed.at("layout").get<std::string>(),
                parsed.at("kernels").get<std::map<std::string, std::string>>()};
    } catch (const json::exception& error) {
        refuse("the kernel plan cannot be read: {}", error.what());
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
    std::error_code code;
    if (path_.empty() || !std::filesystem::exists(path_, code)) return;
    try {
        json::parse(read_file(path_, size_t{1} << 26)).get_to(sections_);
    } catch (const std::exception&) {
        sections_.clear();
    }
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
        write_file(path_, json(sections_).dump(2) + "\n");
    } catch (const Error& error) {
        fmt::print(stderr,
                   "enmesh: note: the kernel cache is not saved, kernels will be measured again: {}\n",
                   error.what());
    }
}

}  // namespace enmesh::cpu
