#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/graph/graph.hpp"

namespace enmesh {

/// What a model is built for. Images up to 64 pixels on their longer side get the small (CIFAR) stem, larger
/// ones the ImageNet stem.
struct ModelOptions {
    int64_t classes = 10;
    std::array<int64_t, 3> image{3, 32, 32};  ///< channels, height, width
    double width = 1;                         ///< multiplies every channel count (rounded, at least 1)
    int64_t batch = 128;
    friend bool operator==(const ModelOptions&, const ModelOptions&) = default;
};

/// The model of that name; an unknown name is refused with the nearest one, and so are options it cannot be
/// built for. Its one input is "images" (N × C × H × W, f32), its one output the logits (N × classes).
/// Parameters are called "LAYER.weight", "LAYER.bias", states "LAYER.running_mean", "LAYER.running_var", with
/// the layer names of torchvision (timm for the vision transformers) and their initial distributions.
Graph build_model(std::string_view name, const ModelOptions& options);
/// Every name that build_model knows.
std::vector<std::string> model_names();

namespace models {

/// Two hidden layers of 512 with ReLU.
Graph mlp(const ModelOptions& options);
/// LeCun et al. 1998 with ReLU and max pooling. Takes 32 × 32; smaller images are zero-padded to it.
Graph lenet5(const ModelOptions& options);
/// Four convolutions of 32, 32, 64, 64 channels with batch norm, two pools: small enough for 8 × 8 digits.
Graph digits_cnn(const ModelOptions& options);
/// Page 2018: conv 64, conv 128 + pool, residual of two 128, conv 256 + pool, conv 512 + pool, residual of
/// two 512, max over the whole map, linear.
Graph resnet9(const ModelOptions& options);
/// He et al. 2016, as torchvision builds them (resnet50 strides in its 3 × 3).
Graph resnet18(const ModelOptions& options);
Graph resnet34(const ModelOptions& options);
Graph resnet50(const ModelOptions& options);
/// Simonyan, Zisserman 2015, with batch norm. The small form ends in global pooling and one linear layer.
Graph vgg16(const ModelOptions& options);
Graph vgg19(const ModelOptions& options);
/// Dosovitskiy et al. 2021, Touvron et al. 2021: 12 pre-norm blocks, a class token, learned positions;
/// patches of 4 × 4 in small images, 16 × 16 above. Tiny is 192 wide with 3 heads, small 384 with 6.
Graph vit_tiny(const ModelOptions& options);
Graph vit_small(const ModelOptions& options);

}  // namespace models
}  // namespace enmesh
