#include "enmesh/base/error.hpp"
#include "models/common.hpp"

namespace enmesh::models {
namespace {

constexpr int64_t side = 32;

/// 5 × 5 whose padding brings the image to 32 × 32, the odd row and column at the end.
ConvOptions padding_conv(const ModelOptions& options) {
    const int64_t rows = side - options.image[1], cols = side - options.image[2];
    if (rows < 0 || cols < 0) {
        refuse("lenet5 takes images of up to {}x{} pixels, got {}x{}", side, side, options.image[1],
               options.image[2]);
    }
    ConvOptions conv = square_conv(5);
    conv.padding = {rows / 2, cols / 2, rows - rows / 2, cols - cols / 2};
    return conv;
}

}  // namespace

Graph lenet5(const ModelOptions& options) {
    GraphBuilder builder;
    ValueId x = add_images(builder, options);
    ConvOptions conv = padding_conv(options);
    conv.bias = true;
    conv.init = WeightInit::fan_in;
    x = builder.relu(builder.conv(x, "conv1", scaled(6, options), conv), "relu1");
    x = builder.max_pool(x, "pool1", 2, 2);
    conv.padding = {0, 0, 0, 0};
    x = builder.relu(builder.conv(x, "conv2", scaled(16, options), conv), "relu2");
    x = builder.flatten(builder.max_pool(x, "pool2", 2, 2), "flatten");
    x = builder.relu(builder.linear(x, "fc1", scaled(120, options)), "relu3");
    x = builder.relu(builder.linear(x, "fc2", scaled(84, options)), "relu4");
    x = builder.linear(x, "fc3", options.classes);
    return std::move(builder).finish(x);
}

}  // namespace enmesh::models
