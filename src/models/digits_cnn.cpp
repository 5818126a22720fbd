#include "models/common.hpp"

namespace enmesh::models {

Graph digits_cnn(const ModelOptions& options) {
    require_side("digits_cnn", options, 2);
    GraphBuilder builder;
    ValueId x = add_images(builder, options);
    x = builder.conv_bn_relu(x, "conv1", "bn1", "relu1", scaled(32, options));
    x = builder.conv_bn_relu(x, "conv2", "bn2", "relu2", scaled(32, options));
    x = builder.max_pool(x, "pool1", 2, 2);
    x = builder.conv_bn_relu(x, "conv3", "bn3", "relu3", scaled(64, options));
    x = builder.conv_bn_relu(x, "conv4", "bn4", "relu4", scaled(64, options));
    x = builder.global_average_pool(x, "pool2");
    x = builder.linear(x, "fc", options.classes);
    return std::move(builder).finish(x);
}

}  // namespace enmesh::models
