#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// A distribution whose scale follows from the weights' shape.
enum class WeightInit : uint8_t {
    he_fan_out,  ///< normal, deviation sqrt(2 / (K * R * S)) (He et al. 2015): torchvision's convolutions
    fan_in,      ///< uniform within 1 / sqrt(C * R * S): PyTorch's default for linear layers and biases
    normal,      ///< normal with the deviation given beside it; biases start at zero
};

struct ConvOptions {
    std::array<int64_t, 2> kernel{3, 3};
    std::array<int64_t, 2> stride{1, 1};
    std::array<int64_t, 4> padding{1, 1, 1, 1};  ///< top, left, bottom, right
    std::array<int64_t, 2> dilation{1, 1};
    int64_t groups = 1;
    bool bias = false;
    WeightInit init = WeightInit::he_fan_out;
};
/// A square kernel with the padding that keeps the extent at stride 1.
ConvOptions square_conv(int64_t kernel, int64_t stride = 1);

struct LinearOptions {
    bool bias = true;
    WeightInit init = WeightInit::fan_in;
    double deviation = 0.02;  ///< for WeightInit::normal
};

/// Adds whole layers with their parameters to a graph: "LAYER.weight" decays, biases and norms do not. Every
/// function returns the layer's result.
class GraphBuilder {
  public:
    const Graph& graph() const { return graph_; }
    Graph& graph() { return graph_; }
    const Shape& shape(ValueId value) const { return graph_.type(value).shape; }

    ValueId conv(ValueId src, const std::string& layer, int64_t channels, const ConvOptions& options = {});
    ValueId batch_norm(ValueId src, const std::string& layer);
    ValueId layer_norm(ValueId src, const std::string& layer);
    /// On the last axis.
    ValueId linear(ValueId src, const std::string& layer, int64_t features,
                   const LinearOptions& options = {});
    ValueId conv_bn(ValueId src, const std::string& conv_layer, const std::string& norm_layer,
                    int64_t channels, const ConvOptions& options = {});
    ValueId conv_bn_relu(ValueId src, const std::string& conv_layer, const std::string& norm_layer,
                         const std::string& relu_layer, int64_t channels, const ConvOptions& options = {});

    ValueId relu(ValueId src, const std::string& layer);
    ValueId gelu(ValueId src, const std::string& layer);
    ValueId add(ValueId a, ValueId b, const std::string& layer);
    /// Each dropout of a graph draws from a stream of its own.
    ValueId dropout(ValueId src, const std::string& layer, double probability);
    ValueId max_pool(ValueId src, const std::string& layer, int64_t kernel, int64_t stride,
                     int64_t padding = 0);
    /// NCHW -> N × C.
    ValueId global_average_pool(ValueId src, const std::string& layer);
    /// The maximum over the whole map, of at most 256 positions: NCHW -> N × C.
    ValueId global_max_pool(ValueId src, const std::string& layer);
    /// N × … -> N × everything else.
    ValueId flatten(ValueId src, const std::string& layer);
    ValueId reshape(ValueId src, const std::string& layer, Shape shape);

    /// Marks the output and hands the graph over.
    Graph finish(ValueId output) &&;

  private:
    ValueId weights(const std::string& layer, Shape shape, WeightInit init, double deviation);
    ValueId bias(const std::string& layer, int64_t features, int64_t fan_in, WeightInit init);
    std::array<ValueId, 2> norm_parameters(const std::string& layer, int64_t features);

    Graph graph_;
    int64_t dropouts_ = 0;
};

}  // namespace enmesh
