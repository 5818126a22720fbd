#pragma once

#include <functional>
#include <map>
#include <string>

#include "enmesh/graph/graph.hpp"
#include "enmesh/tensor/tensor.hpp"

namespace enmesh {

/// An inference graph whose batch norms have become part of the products in front of them.
struct FoldedNorms {
    Graph graph;
    /// What the weights and biases that the norms went into hold, by name; every other value is unchanged.
    std::map<std::string, Tensor> values;
    int folded = 0;
    int left = 0;  ///< norms that stay: no convolution or linear layer of their own in front
};

/// inference_graph(graph) with y = gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta written as
/// W' x + b', W' = s W, b' = beta + s (b - mean), s = gamma / sqrt(variance + epsilon) per output channel.
/// A norm is folded where its src is the result of a Conv2d or of a Linear on rows and nothing else uses
/// that result, its weights or its bias. A product without a bias gains one, named after its weights. Scaling
/// output channels keeps N:M masks along input channels and zeros.
/// `value_of` reads a parameter or state by name.
FoldedNorms fold_batch_norms(const Graph& graph, const std::function<Tensor(const std::string&)>& value_of);

}  // namespace enmesh
