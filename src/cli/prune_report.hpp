#pragma once

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
void print_table(const PruneReport& report);

/// A line on a terminal that is rewritten for each search.
class LayerMeter {
  public:
    LayerMeter();
    ~LayerMeter();
    void show(size_t index, size_t count, const std::string& name) const;

  private:
    bool terminal_;
};

}  // namespace enmesh::cli
