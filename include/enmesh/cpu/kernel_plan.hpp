#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace enmesh::cpu {

/// Which kernel serves which product, and the network's layout: a checkpoint carries it, so that a resumed
/// run computes with the same kernels and ends with the same bits.
struct KernelPlan {
    std::string layout;                          ///< "channels" or "images"; empty: not decided
    std::map<std::string, std::string> kernels;  ///< products::plan_key of the problem -> kernel
    friend bool operator==(const KernelPlan&, const KernelPlan&) = default;
};

/// One line of JSON and back; refuses what is not a plan.
std::string to_text(const KernelPlan& plan);
KernelPlan parse_kernel_plan(std::string_view text);

/// Where choices that the plan leaves open come from.
enum class KernelChoice {
    defaults,  ///< the first kernel that accepts: untimed, the same on every run
    cached,    ///< what an earlier measurement on this machine found, else the default
    measured,  ///< what an earlier measurement found, else measure now and remember
};
KernelChoice parse_kernel_choice(std::string_view text);

/// Choices measured on this machine: a JSON file the user can read, move and delete, with one section per
/// CPU, ISA, thread count, library version and whether Winograd is allowed. In ENMESH_CACHE_DIR, else
/// XDG_CACHE_HOME/enmesh, else ~/.cache/enmesh.
class KernelCache {
  public:
    static std::filesystem::path default_path();
    /// An unreadable or foreign file counts as empty and is replaced at the next save().
    explicit KernelCache(std::filesystem::path path = default_path());
    std::string find(const std::string& product) const;
    void remember(const std::string& product, const std::string& kernel);
    /// Writes the file if something was remembered.
    void save();

  private:
    std::filesystem::path path_;
    std::map<std::string, std::map<std::string, std::string>> sections_;
    std::string section_;
    bool changed_ = false;
};

}  // namespace enmesh::cpu
