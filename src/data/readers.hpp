#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "enmesh/data/dataset.hpp"

namespace enmesh::data {

/// Refuses a path that is not a folder.
void check_directory(const std::filesystem::path& directory);

/// Refuses a label outside [0, classes), naming the file and the position.
void check_labels(std::span<const int32_t> labels, int classes, std::string_view file);

/// The dataset with its normalisation computed; asserts that pixels and labels agree.
Dataset finished(Dataset dataset);

}  // namespace enmesh::data
