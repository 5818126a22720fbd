#include "cli/named_files.hpp"

#include "enmesh/base/error.hpp"
#include "enmesh/onnx/import.hpp"

namespace enmesh::cli {
namespace {

namespace fs = std::filesystem;

bool can_be_lost(const fs::path& path) {
    std::error_code ignored;
    return !path.empty() && path != "-" && !fs::is_other(path, ignored);
}

constexpr const char* external_data = "external data";

/// With what outputs write besides: FILE.data of an ONNX file.
std::vector<NamedFile> with_data(const std::vector<NamedFile>& outputs) {
    std::vector<NamedFile> files;
    for (const NamedFile& output : outputs) {
        if (!can_be_lost(output.path)) continue;
        files.push_back(output);
        if (!onnx::is_onnx_path(output.path)) continue;
        fs::path data = output.path;
        files.push_back({output.option, data += ".data", external_data});
    }
    return files;
}

/// With what inputs read besides: an ONNX file's external data.
std::vector<NamedFile> with_external_data(const std::vector<NamedFile>& inputs) {
    std::vector<NamedFile> files;
    for (const NamedFile& input : inputs) {
        if (!can_be_lost(input.path)) continue;
        files.push_back(input);
        if (!onnx::is_onnx_path(input.path)) continue;
        for (const fs::path& data : onnx::external_files(input.path))
            files.push_back({input.option, data, external_data});
    }
    return files;
}

}  // namespace

bool same_file(const fs::path& one, const fs::path& other) {
    std::error_code ignored;
    if (fs::equivalent(one, other, ignored)) return true;
    const fs::path here = fs::weakly_canonical(fs::absolute(one, ignored), ignored);
    const fs::path there = fs::weakly_canonical(fs::absolute(other, ignored), ignored);
    return !here.empty() && here == there;
}

void require_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
    const std::vector<NamedFile> written = with_data(outputs);
    if (written.empty()) return;
    std::vector<NamedFile> taken = with_external_data(inputs);
    for (const NamedFile& output : written) {
        for (const NamedFile& other : taken) {
            if (same_file(output.path, other.path))
                refuse("{} {}: would overwrite the {} of {}", output.option, output.path.string(), other.what,
                       other.option);
        }
        taken.push_back(output);
    }
}

}  // namespace enmesh::cli
