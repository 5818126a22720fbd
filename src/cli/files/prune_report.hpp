#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "enmesh/sparsity/prune_network.hpp"

namespace enmesh::cli {

/// What a pruning did or, in a dry run, would do.
struct PruneReport {
    PruneOptions options;
    std::vector<PrunedLayer> layers;
    std::vector<LeftDense> left_dense;
    bool has_graph = false;  ///< groups and unpermuted are told
    std::vector<SearchedGroup> groups;
    std::vector<UnpermutedInput> unpermuted;
};

std::string json_text(const PruneReport& report);
void print_table(std::FILE* stream, const PruneReport& report);

}  // namespace enmesh::cli
