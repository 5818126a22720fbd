#pragma once

#include <vector>

#include "enmesh/graph/graph.hpp"
#include "sparsity/permute/channel_orders.hpp"

namespace enmesh {

/// The order along each axis of a value.
using AxisOrders = std::vector<ChannelOrder>;

/// What a rule sees of its node.
struct ChannelCarrier {
    ChannelOrders& orders;
    const Graph& graph;
    const Node& node;
    std::vector<AxisOrders> inputs;

    const Shape& shape(size_t input) const { return graph.type(node.inputs[input]).shape; }
    const Shape& result_shape(size_t output = 0) const { return graph.type(node.outputs[output]).shape; }
    /// "the softmax of 'layer'": for reasons.
    std::string where() const;
};

/// The orders of a node's results. Demands on those of its inputs whatever keeps the operation's function the
/// same under them: how channels pass through an operation is one rule each. An operation without a rule
/// fixes what it reads and makes.
std::vector<AxisOrders> carry_channels(ChannelCarrier carrier);

}  // namespace enmesh
