#include <algorithm>

#include "enmesh/base/error.hpp"
#include "models/common.hpp"

namespace enmesh::models {
namespace {

ValueId conv_block(GraphBuilder& builder, ValueId src, const std::string& prefix, int number,
                   int64_t channels) {
    const std::string n = std::to_string(number);
    return builder.conv_bn_relu(src, prefix + "conv" + n, prefix + "bn" + n, prefix + "relu" + n, channels);
}

ValueId residual(GraphBuilder& builder, ValueId src, const std::string& prefix) {
    const int64_t channels = builder.shape(src)[1];
    ValueId x = conv_block(builder, src, prefix, 1, channels);
    x = conv_block(builder, x, prefix, 2, channels);
    return builder.add(src, x, prefix + "add");
}

}  // namespace

Graph resnet9(const ModelOptions& options) {
    require_side("resnet9", options, 8);
    // The last pool remembers the place of its maximum in 8 bits: 16 × 16 positions.
    if (std::max(options.image[1], options.image[2]) >= 136) {
        refuse("resnet9 takes images of up to 135x135 pixels, got {}x{}", options.image[1], options.image[2]);
    }
    GraphBuilder builder;
    ValueId x = add_images(builder, options);
    x = conv_block(builder, x, "", 1, scaled(64, options));
    x = builder.max_pool(conv_block(builder, x, "", 2, scaled(128, options)), "pool1", 2, 2);
    x = residual(builder, x, "res1.");
    x = builder.max_pool(conv_block(builder, x, "", 3, scaled(256, options)), "pool2", 2, 2);
    x = builder.max_pool(conv_block(builder, x, "", 4, scaled(512, options)), "pool3", 2, 2);
    x = residual(builder, x, "res2.");
    x = builder.global_max_pool(x, "pool4");
    x = builder.linear(x, "fc", options.classes);
    return std::move(builder).finish(x);
}

}  // namespace enmesh::models
