#include "models/common.hpp"

namespace enmesh::models {
namespace {

struct ResNetForm {
    std::array<int64_t, 4> blocks;
    bool bottleneck;
};

/// One residual block; `channels` is the inner count, a bottleneck puts out four times as many.
class Block {
  public:
    Block(GraphBuilder& builder, std::string layer, int64_t channels, int64_t stride)
        : builder_(builder), layer_(std::move(layer)), channels_(channels), stride_(stride) {}

    ValueId basic(ValueId src) const {
        ValueId x = part(src, "1", channels_, square_conv(3, stride_));
        x = norm(x, "2", channels_, square_conv(3));
        return join(src, x);
    }
    ValueId bottleneck(ValueId src) const {
        ValueId x = part(src, "1", channels_, square_conv(1));
        x = part(x, "2", channels_, square_conv(3, stride_));
        x = norm(x, "3", 4 * channels_, square_conv(1));
        return join(src, x);
    }

  private:
    ValueId norm(ValueId src, const std::string& number, int64_t channels, const ConvOptions& conv) const {
        return builder_.conv_bn(src, layer_ + ".conv" + number, layer_ + ".bn" + number, channels, conv);
    }
    ValueId part(ValueId src, const std::string& number, int64_t channels, const ConvOptions& conv) const {
        return builder_.relu(norm(src, number, channels, conv), layer_ + ".relu" + number);
    }
    ValueId join(ValueId src, ValueId x) const {
        const int64_t channels = builder_.shape(x)[1];
        if (stride_ != 1 || builder_.shape(src)[1] != channels) {
            src = builder_.conv_bn(src, layer_ + ".downsample.0", layer_ + ".downsample.1", channels,
                                   square_conv(1, stride_));
        }
        return builder_.relu(builder_.add(x, src, layer_ + ".add"), layer_ + ".relu");
    }

    GraphBuilder& builder_;
    std::string layer_;
    int64_t channels_, stride_;
};

ValueId stem(GraphBuilder& builder, ValueId images, const ModelOptions& options) {
    const int64_t channels = scaled(64, options);
    if (small_image(options)) return builder.conv_bn_relu(images, "conv1", "bn1", "relu", channels);
    const ValueId x = builder.conv_bn_relu(images, "conv1", "bn1", "relu", channels, square_conv(7, 2));
    return builder.max_pool(x, "maxpool", 3, 2, 1);
}

Graph resnet(const ResNetForm& form, const ModelOptions& options) {
    GraphBuilder builder;
    ValueId x = stem(builder, add_images(builder, options), options);
    for (size_t stage = 0; stage < form.blocks.size(); ++stage) {
        const int64_t channels = scaled(int64_t{64} << stage, options);
        for (int64_t i = 0; i < form.blocks[stage]; ++i) {
            const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
            const std::string layer = "layer" + std::to_string(stage + 1) + "." + std::to_string(i);
            const Block block(builder, layer, channels, stride);
            x = form.bottleneck ? block.bottleneck(x) : block.basic(x);
        }
    }
    x = builder.global_average_pool(x, "avgpool");
    x = builder.linear(x, "fc", options.classes);
    return std::move(builder).finish(x);
}

}  // namespace

Graph resnet18(const ModelOptions& options) { return resnet({{2, 2, 2, 2}, false}, options); }
Graph resnet34(const ModelOptions& options) { return resnet({{3, 4, 6, 3}, false}, options); }
Graph resnet50(const ModelOptions& options) { return resnet({{3, 4, 6, 3}, true}, options); }

}  // namespace enmesh::models
