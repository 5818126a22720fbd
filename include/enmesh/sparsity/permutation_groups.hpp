#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

// Channel permutation through a network. A layer's input channels may stand in any order if whatever makes
// them, and whatever else reads them, changes its order alike: the producing layers' outputs with their
// biases and norms (more than one where branches are added), and all layers that read the same channels
// (siblings). The groups of channels that move together are found by walking the graph with a rule per
// operation; what fixes an order (images, outputs, operations that tell channels apart by their place) is
// told.

/// The values of parameters, states and constants.
using WeightSource = std::function<Tensor(const Value& value)>;

/// Channels that one permutation rearranges wherever they appear.
struct ChannelGroup {
    /// Input channels [first, first + channels) of these weights (axis 1) are the group, in whole groups of
    /// M.
    struct Reader {
        std::string weights;
        int64_t first = 0;
    };
    int64_t channels = 0;
    std::vector<Reader> readers;         ///< the siblings
    std::vector<std::string> producers;  ///< weights whose outputs (axis 0) are among these channels
};

/// One axis of a parameter or state: runs one after the other.
struct ChannelAxis {
    struct Run {
        int group = -1;     ///< below 0: stays as it is
        int64_t inner = 1;  ///< elements that travel with each channel; of a run that stays: its elements
    };
    std::string value;
    int axis = 0;
    std::vector<Run> runs;
};

/// Input channels that keep their places, or some of them.
struct UnpermutedInput {
    std::string weights, reason;
};

struct ChannelGroups {
    std::vector<ChannelGroup> groups;
    std::vector<ChannelAxis> axes;
    std::vector<UnpermutedInput> unpermuted;
};

/// The groups that `weights` (names of parameters of convolutions and linear layers) can be arranged by for
/// groups of m. Needs the values: what is the same for all channels (scales that are all 1, merged into one
/// tensor by an exporter) ties nothing together.
ChannelGroups find_channel_groups(const Graph& graph, const WeightSource& source,
                                  std::span<const std::string> weights, int m);

/// The value with its axes in the new order: channel permutations[g][i] of group g comes to stand at i.
Tensor permuted(const ChannelGroups& groups, std::span<const std::vector<int64_t>> permutations,
                const std::string& name, const Tensor& tensor);

}  // namespace enmesh
