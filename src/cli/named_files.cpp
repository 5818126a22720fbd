#include "cli/named_files.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh::cli {
namespace {

namespace fs = std::filesystem;

bool can_be_lost(const fs::path& path) {
    std::error_code ignored;
    return !path.empty() && path != "-" && !fs::is_other(path, ignored);
}

bool same_file(const fs::path& one, const fs::path& other) {
    std::error_code ignored;
    if (fs::equivalent(one, other, ignored)) return true;
    const fs::path here = fs::weakly_canonical(fs::absolute(one, ignored), ignored);
    const fs::path there = fs::weakly_canonical(fs::absolute(other, ignored), ignored);
    return !here.empty() && here == there;
}

}  // namespace

void require_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
    std::vector<NamedFile> taken = inputs;
    for (const NamedFile& output : outputs) {
        if (!can_be_lost(output.path)) continue;
        for (const NamedFile& other : taken)
            if (can_be_lost(other.path) && same_file(output.path, other.path))
                refuse("{} {}: would overwrite the file of {}", output.option, output.path.string(),
                       other.option);
        taken.push_back(output);
    }
}

}  // namespace enmesh::cli
