#include "data/image_listing.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string_view>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::data {
namespace fs = std::filesystem;
namespace {

constexpr const char* annotations = "val_annotations.txt";
constexpr const char* no_image = "no image";

/// What the first bytes of a file say; "" for JPEG and PNG, which are read.
std::string kind_of(const fs::path& file) {
    std::array<char, 16> head{};
    std::ifstream stream(file, std::ios::binary);
    stream.read(head.data(), head.size());
    const std::string_view bytes(head.data(), static_cast<size_t>(stream.gcount()));
    if (bytes.starts_with("\xff\xd8\xff") || bytes.starts_with("\x89PNG")) return "";
    if (bytes.starts_with("RIFF") && bytes.substr(std::min<size_t>(8, bytes.size())).starts_with("WEBP"))
        return "WebP";
    if (bytes.starts_with("BM")) return "BMP";
    if (bytes.starts_with("GIF8")) return "GIF";
    if (bytes.starts_with(std::string_view("II*\0", 4)) || bytes.starts_with(std::string_view("MM\0*", 4)))
        return "TIFF";
    if (bytes.substr(std::min<size_t>(4, bytes.size())).starts_with("ftyp")) return "AVIF or HEIC";
    if (bytes.size() > 2 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' && bytes[2] == '\n')
        return "PNM";
    // A name that promises an image is taken at its word: the file is then refused as damaged.
    std::string extension = file.extension().string();
    for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    constexpr std::array promises{".jpg", ".jpeg", ".jpe", ".jfif", ".png"};
    return std::find(promises.begin(), promises.end(), extension) == promises.end() ? no_image : "";
}

struct Names {
    std::vector<std::string> files, folders;
};

Names names_in(const fs::path& directory) {
    Names names;
    std::error_code code, ignored;
    for (fs::directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
        const std::string name = it->path().filename().string();
        if (name.starts_with(".")) continue;
        if (it->is_directory(ignored)) names.folders.push_back(name);
        if (it->is_regular_file(ignored)) names.files.push_back(name);
    }
    if (code) refuse("{}: the folder cannot be read ({})", directory.string(), code.message());
    std::sort(names.files.begin(), names.files.end());
    std::sort(names.folders.begin(), names.folders.end());
    return names;
}

/// Walks down; `above`: the folders on the way, so that a link to one of them ends the walk.
void walk(const fs::path& folder, int32_t label, ImageListing& listing, std::vector<fs::path>& above) {
    std::error_code code;
    const fs::path real = fs::canonical(folder, code);
    if (code || std::find(above.begin(), above.end(), real) != above.end()) return;
    above.push_back(real);
    const Names names = names_in(folder);
    for (const std::string& name : names.files) {
        if (const std::string kind = kind_of(folder / name); !kind.empty()) {
            ++listing.left_out[kind];
            continue;
        }
        listing.files.push_back(folder / name);
        listing.labels.push_back(label);
    }
    for (const std::string& name : names.folders) walk(folder / name, label, listing, above);
    above.pop_back();
}

[[noreturn]] void refuse_class(const fs::path& folder, const std::map<std::string, int64_t>& left_out) {
    const std::string others = left_out_text(left_out);
    refuse("{}: has no JPEG or PNG file{}{}", folder.string(), others.empty() ? "" : "; ", others);
}

ImageListing list_annotated(const fs::path& split, const std::vector<std::string>& classes) {
    ImageListing listing;
    const fs::path file = split / annotations;
    std::istringstream lines(read_file(file, size_t{1} << 30));
    size_t number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        if (line.empty() || line == "\r") continue;
        std::istringstream fields(line);
        std::string image, name;
        if (!(fields >> image >> name))
            refuse("{}:{}: an image and its class are expected", file.string(), number);
        const auto found = std::lower_bound(classes.begin(), classes.end(), name);
        if (found == classes.end() || *found != name)
            refuse("{}:{}: '{}' is a class that the training images do not have", file.string(), number,
                   name);
        listing.files.push_back(split / "images" / image);
        listing.labels.push_back(static_cast<int32_t>(found - classes.begin()));
    }
    if (listing.files.empty()) refuse("{}: names no image", file.string());
    return listing;
}

}  // namespace

std::vector<std::string> folders_in(const fs::path& directory) { return names_in(directory).folders; }

bool has_annotations(const fs::path& split) {
    std::error_code code;
    return fs::is_regular_file(split / annotations, code) && fs::is_directory(split / "images", code);
}

ImageListing list_images(const fs::path& split, const std::vector<std::string>& classes) {
    if (has_annotations(split)) return list_annotated(split, classes);
    ImageListing listing;
    for (size_t label = 0; label < classes.size(); ++label) {
        const size_t before = listing.files.size();
        std::vector<fs::path> above;
        ImageListing one;
        walk(split / classes[label], static_cast<int32_t>(label), one, above);
        for (const auto& [kind, count] : one.left_out) listing.left_out[kind] += count;
        listing.files.insert(listing.files.end(), one.files.begin(), one.files.end());
        listing.labels.insert(listing.labels.end(), one.labels.begin(), one.labels.end());
        if (listing.files.size() == before) refuse_class(split / classes[label], one.left_out);
    }
    return listing;
}

std::string left_out_text(const std::map<std::string, int64_t>& left_out) {
    int64_t total = 0;
    std::string list;
    bool images = false;
    for (const auto& [kind, count] : left_out) {
        total += count;
        list += fmt::format("{}{} {}", list.empty() ? "" : ", ", count, kind);
        images = images || kind != no_image;
    }
    if (total == 0) return "";
    return fmt::format("{} file{} left out: {}{}", total, total == 1 ? " is" : "s are", list,
                       images ? "; JPEG and PNG are read: convert the other images" : "");
}

}  // namespace enmesh::data
