#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/files/prune_report.hpp"

namespace enmesh::cli {

struct PruneArguments {
    std::string input, pattern, out, json, model, image, search;
    std::vector<std::string> skip, sparse;
    bool permute = false, permute_only = false, dry_run = false, transposable = false;
    int64_t seed = 1;
    int threads = 0;
    std::optional<double> time_limit;
};

/// What the arguments ask for; refuses what contradicts itself.
PruneOptions prune_options(const PruneArguments& arguments);

/// The first skip pattern that matches the name, or nullptr; marks every one that does as used.
const std::string* skipped_by(const std::string& name, const std::vector<std::string>& patterns,
                              std::vector<char>& used);

/// Through the network's graph: the whole command but its report.
PruneReport prune_onnx(const PruneArguments& arguments);
PruneReport prune_checkpoint(const PruneArguments& arguments);

}  // namespace enmesh::cli
