#include "cli/options/named_files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "enmesh/base/error.hpp"
#include "enmesh/onnx/export.hpp"

namespace enmesh::cli {
namespace {

namespace fs = std::filesystem;

bool can_be_lost(const fs::path& path) {
    std::error_code ignored;
    return !path.empty() && path != "-" && !fs::is_other(path, ignored);
}

/// Those of the files that can be lost, each ONNX file followed by its external data: data_of( path ).
template <typename DataOf>
std::vector<NamedFile> with_external_data(const std::vector<NamedFile>& files, const DataOf& data_of) {
    std::vector<NamedFile> all;
    for (const NamedFile& file : files) {
        if (!can_be_lost(file.path)) continue;
        all.push_back(file);
        if (!onnx::is_onnx_path(file.path)) continue;
        for (const fs::path& data : data_of(file.path)) all.push_back({file.option, data, "external data"});
    }
    return all;
}

bool is_standard_output(const fs::path& path) {
    struct stat here {
    }, there{};
    return !path.empty() && ::stat(path.c_str(), &here) == 0 && ::fstat(STDOUT_FILENO, &there) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
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
    const auto written_beside = [](const fs::path& onnx) { return std::vector{onnx::written_data(onnx)}; };
    const std::vector<NamedFile> written = with_external_data(outputs, written_beside);
    if (written.empty()) return;
    std::vector<NamedFile> taken = with_external_data(inputs, onnx::external_files);
    for (const NamedFile& output : written) {
        for (const NamedFile& other : taken) {
            if (same_file(output.path, other.path))
                refuse("{} {}: would overwrite the {} of {}", output.option, output.path.string(), other.what,
                       other.option);
        }
        taken.push_back(output);
    }
}

void require_safetensors_name(const fs::path& out) {
    if (onnx::is_onnx_path(out))
        refuse("--out {}: weights without a graph are written as safetensors, not as ONNX", out.string());
}

std::FILE* words_beside(const fs::path& out, const fs::path& json) {
    if (!is_standard_output(out)) return stdout;
    if (json == "-" || is_standard_output(json))
        refuse("--json {}: standard output is taken by --out", json.string());
    return stderr;
}

}  // namespace enmesh::cli
