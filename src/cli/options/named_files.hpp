#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"

namespace enmesh::cli {

/// A file and the option that names it; the path may be empty or "-", which is no file.
struct NamedFile {
    std::string option;
    std::filesystem::path path;
    std::string what = "file";  ///< what of the option's it is
};

/// Whether both are the same file, or would be.
bool same_file(const std::filesystem::path& one, const std::filesystem::path& other);

/// Refuses, before the work, outputs that would overwrite one another or an input. An ONNX file stands for
/// its external data too: those that an input names, FILE.data of an output. Devices and pipes hold nothing
/// that could be lost and are not looked at.
void require_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

/// Refuses a name that ends in .onnx for packed or unpacked weights.
void require_safetensors_name(const std::filesystem::path& out);

/// Where a command's words go that writes a file: not among its bytes, where `out` is standard output.
/// Refuses to write the result `json` there too.
std::FILE* words_beside(const std::filesystem::path& out, const std::filesystem::path& json);

/// work(), whose errors name the file first.
template <typename Work>
auto naming(const std::string& file, const Work& work) {
    try {
        return work();
    } catch (const Error& error) {
        const std::string message = error.what();
        throw Error(error.kind(), message.starts_with(file) ? message : file + ": " + message);
    }
}

}  // namespace enmesh::cli
