#include "enmesh/train/state_dict.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

constexpr std::array<std::string_view, 6> wrappers = {"module.", "_orig_mod.", "model.",
                                                      "net.",    "network.",   "state_dict."};
/// torch.compile of a part of a model names it in the middle.
constexpr std::string_view compiled = "_orig_mod.";
constexpr std::array<std::string_view, 5> unneeded = {"num_batches_tracked", "total_ops", "total_params",
                                                      "n_averaged", "position_ids"};

std::string without_compiled(std::string name) {
    for (size_t at = name.find(compiled); at != std::string::npos; at = name.find(compiled, at)) {
        if (at == 0 || name[at - 1] == '.') {
            name.erase(at, compiled.size());
        } else {
            ++at;
        }
    }
    return name;
}

std::string_view last_part(std::string_view name) {
    const size_t dot = name.rfind('.');
    return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

bool is_needed(std::string_view name) {
    return std::find(unneeded.begin(), unneeded.end(), last_part(name)) == unneeded.end();
}

/// The wrappers that all names share, one behind the other.
std::string common_prefix(const SafetensorsReader& file) {
    std::vector<std::string> names;
    for (const TensorHeader& header : file.tensors())
        if (header.name != "n_averaged") names.push_back(without_compiled(header.name));
    std::string prefix;
    for (bool longer = !names.empty(); longer;) {
        longer = false;
        for (const std::string_view wrapper : wrappers) {
            const std::string tried = prefix + std::string(wrapper);
            if (!std::all_of(names.begin(), names.end(),
                             [&](const std::string& name) { return name.starts_with(tried); }))
                continue;
            prefix = tried;
            longer = true;
        }
    }
    return prefix;
}

}  // namespace

StateDict::StateDict(const std::filesystem::path& path) : file_(path), prefix_(common_prefix(file_)) {
    for (size_t i = 0; i < file_.tensors().size(); ++i) {
        const auto [known, fresh] = indices_.emplace(name_of(i), i);
        if (!fresh) {
            refuse("{}: '{}' and '{}' are one tensor's name, with a wrapper's prefix and without",
                   path.string(), file_.tensors()[known->second].name, file_.tensors()[i].name);
        }
    }
}

std::optional<size_t> StateDict::find(std::string_view name) const {
    // A network whose own names begin as a wrapper's prefix finds them as they are.
    if (const auto exact = file_.find(name); exact.has_value()) return exact;
    const auto found = indices_.find(name);
    if (found == indices_.end()) return std::nullopt;
    return found->second;
}

std::string StateDict::name_of(size_t index) const {
    const std::string name = without_compiled(file_.tensors()[index].name);
    return name.starts_with(prefix_) ? name.substr(prefix_.size()) : name;
}

bool StateDict::needed(size_t index) const { return is_needed(file_.tensors()[index].name); }

std::vector<std::string> StateDict::notes() const {
    std::vector<std::string> lines;
    if (!prefix_.empty())
        lines.push_back(fmt::format("the prefix '{}' is taken off the names of tensors", prefix_));
    std::set<std::string_view> kinds;
    int64_t count = 0;
    for (size_t i = 0; i < file_.tensors().size(); ++i) {
        if (needed(i)) continue;
        ++count;
        kinds.insert(last_part(file_.tensors()[i].name));
    }
    if (count == 0) return lines;
    std::string list;
    for (const std::string_view kind : kinds) list += (list.empty() ? "" : ", ") + std::string(kind);
    lines.push_back(fmt::format("{} tensor{} that no network here needs {} left out ({})", count,
                                count == 1 ? "" : "s", count == 1 ? "is" : "are", list));
    return lines;
}

}  // namespace enmesh
