#include "tensor/safetensors_source.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view index_end = ".safetensors.index.json";

bool is_index(const fs::path& path) { return path.filename().string().ends_with(index_end); }

fs::path part_beside(const fs::path& index, const std::string& name) {
    std::error_code code;
    const fs::path beside = index.parent_path() / name;
    if (fs::exists(beside, code)) return beside;
    const fs::path led_to = fs::canonical(index, code);
    if (!code && fs::exists(led_to.parent_path() / name, code)) return led_to.parent_path() / name;
    refuse("{}: its part {} is not beside it", index.string(), name);
}

SafetensorsSource parts_of(const fs::path& index) {
    const std::string text = read_file(index, size_t{1} << 30);
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
        refuse("{}: not an index of safetensors files (a JSON object with \"weight_map\", tensor to file)",
               index.string());
    SafetensorsSource source;
    std::map<std::string, size_t> numbers;
    for (const auto& [tensor, file] : json["weight_map"].items()) {
        if (!file.is_string()) refuse("{}: weight_map of '{}' is no file name", index.string(), tensor);
        const auto name = file.get<std::string>();
        if (name.empty() || name.find('/') != std::string::npos || name == "..")
            refuse("{}: weight_map of '{}': '{}' is not the name of a file beside it", index.string(), tensor,
                   name);
        const auto [known, fresh] = numbers.try_emplace(name, source.files.size());
        if (fresh) source.files.push_back(part_beside(index, name));
        source.tensors.emplace(tensor, known->second);
    }
    if (source.files.empty()) refuse("{}: its weight_map names no tensor", index.string());
    return source;
}

fs::path in_folder(const fs::path& folder) {
    std::vector<fs::path> indexes, files;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
        const std::string name = it->path().filename().string();
        if (name.starts_with(".")) continue;
        if (is_index(it->path())) indexes.push_back(it->path());
        if (name.ends_with(".safetensors")) files.push_back(it->path());
    }
    if (code) refuse("{}: the folder cannot be read ({})", folder.string(), code.message());
    const fs::path usual = folder / "model.safetensors";
    if (std::find(files.begin(), files.end(), usual) != files.end()) return usual;
    if (indexes.size() == 1) return indexes.front();
    if (files.size() == 1) return files.front();
    if (files.empty()) refuse("{}: a folder without a .safetensors file", folder.string());
    refuse("{}: a folder with {} .safetensors files and no index: name one of them", folder.string(),
           files.size());
}

}  // namespace

SafetensorsSource safetensors_source(const fs::path& path) {
    std::error_code code;
    const fs::path file = fs::is_directory(path, code) ? in_folder(path) : path;
    if (is_index(file)) return parts_of(file);
    return {{file}, {}};
}

std::string_view other_format(std::string_view first_bytes) {
    struct Row {
        std::string_view begins, text;
    };
    constexpr std::string_view pickle =
        "a PyTorch pickle (torch.save): load it there and save it with safetensors.torch.save_file";
    static constexpr std::array rows = {
        Row{"PK\x03\x04", pickle},
        Row{"\x80\x02", pickle},
        Row{"\x80\x03", pickle},
        Row{"\x80\x04", pickle},
        Row{"\x89HDF", "an HDF5 file (Keras): save the weights as safetensors"},
        Row{"\x93NUMPY", "a NumPy array: save the weights as safetensors"},
        Row{"\x1f\x8b", "a gzip file: unpack it first"},
        Row{"version ", "a Git LFS pointer and not the file itself: fetch it (git lfs pull)"},
        Row{"GGUF", "a GGUF file: save the weights as safetensors"},
        Row{"<!", "an HTML page: a download that failed"},
        Row{"<html", "an HTML page: a download that failed"},
        Row{"{", "a JSON text: an index of parts has a name that ends in .safetensors.index.json"},
    };
    for (const Row& row : rows) {
        if (first_bytes.starts_with(row.begins)) return row.text;
    }
    return "";
}

}  // namespace enmesh
