#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace enmesh::data {

/// The images of a split and what lay beside them.
struct ImageListing {
    std::vector<std::filesystem::path> files;
    std::vector<int32_t> labels;
    std::map<std::string, int64_t> left_out;  ///< files by what they are: "WebP", "no image"
};

/// All JPEG and PNG files below the class folders of `split`, as their first bytes say; hidden names are
/// passed over. Of a folder first its files, then its sub-folders, each in byte order. A folder with
/// val_annotations.txt (TinyImageNet) has its images in one heap and their classes in that file. Refuses a
/// class without an image.
ImageListing list_images(const std::filesystem::path& split, const std::vector<std::string>& classes);

/// Names of the folders in `directory` in byte order, hidden ones left out.
std::vector<std::string> folders_in(const std::filesystem::path& directory);

/// Whether `split` says its images' classes in a file.
bool has_annotations(const std::filesystem::path& split);

/// "3 files are left out: 2 WebP, 1 no image; …", or "" where none is.
std::string left_out_text(const std::map<std::string, int64_t>& left_out);

}  // namespace enmesh::data
