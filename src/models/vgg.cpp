#include "enmesh/base/error.hpp"
#include "models/common.hpp"

namespace enmesh::models {
namespace {

/// Numbers its layers as torchvision's sequence does: convolution, norm, ReLU and pool each take one.
ValueId features(GraphBuilder& builder, ValueId x, const std::array<int, 5>& convs,
                 const ModelOptions& options) {
    constexpr std::array<int64_t, 5> channels{64, 128, 256, 512, 512};
    ConvOptions conv;
    conv.bias = true;
    int index = 0;
    const auto next = [&] { return "features." + std::to_string(index++); };
    for (size_t stage = 0; stage < convs.size(); ++stage) {
        for (int i = 0; i < convs[stage]; ++i) {
            x = builder.conv(x, next(), scaled(channels[stage], options), conv);
            x = builder.batch_norm(x, next());
            x = builder.relu(x, next());
        }
        x = builder.max_pool(x, next(), 2, 2);
    }
    return x;
}

/// Average pooling to 7 × 7 where its windows are all equal: the adaptive pool of 7 × 7, 14 × 14, … maps.
ValueId pool_to_seven(GraphBuilder& builder, ValueId x, std::string_view model, const ModelOptions& options) {
    const int64_t rows = builder.shape(x)[2], cols = builder.shape(x)[3];
    if (rows % 7 != 0 || cols % 7 != 0) {
        refuse("{} above 64 pixels pools to 7x7: sides such as 224 or 448 are possible, got {}x{}", model,
               options.image[1], options.image[2]);
    }
    if (rows == 7 && cols == 7) return x;
    PoolWindow window;
    window.kernel = {rows / 7, cols / 7};
    window.stride = window.kernel;
    return builder.graph().add_one(AveragePool2d{window, true}, {x}, "avgpool");
}

Graph vgg(std::string_view model, const std::array<int, 5>& convs, const ModelOptions& options) {
    require_side(model, options, 32);
    GraphBuilder builder;
    ValueId x = features(builder, add_images(builder, options), convs, options);
    const LinearOptions linear{.bias = true, .init = WeightInit::normal, .deviation = 0.01};
    if (small_image(options)) {
        x = builder.global_average_pool(x, "avgpool");
        return std::move(builder).finish(builder.linear(x, "classifier", options.classes, linear));
    }
    x = builder.flatten(pool_to_seven(builder, x, model, options), "flatten");
    for (int i = 0; i < 6; i += 3) {
        const auto layer = [&](int offset) { return "classifier." + std::to_string(i + offset); };
        x = builder.linear(x, layer(0), scaled(4096, options), linear);
        x = builder.dropout(builder.relu(x, layer(1)), layer(2), 0.5);
    }
    return std::move(builder).finish(builder.linear(x, "classifier.6", options.classes, linear));
}

}  // namespace

Graph vgg16(const ModelOptions& options) { return vgg("vgg16", {2, 2, 3, 3, 3}, options); }
Graph vgg19(const ModelOptions& options) { return vgg("vgg19", {2, 2, 4, 4, 4}, options); }

}  // namespace enmesh::models
