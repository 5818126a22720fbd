#include <cmath>

#include "enmesh/base/error.hpp"
#include "models/common.hpp"

namespace enmesh::models {
namespace {

constexpr int64_t blocks = 12;
constexpr LinearOptions linear_init{.bias = true, .init = WeightInit::normal, .deviation = 0.02};

Initializer normal(double deviation) { return {Initializer::Kind::normal, deviation, nullptr}; }

/// Images -> N × tokens × width: one convolution with the patch as kernel and stride.
ValueId embed_patches(GraphBuilder& builder, ValueId images, int64_t patch, int64_t width) {
    ConvOptions conv = square_conv(patch, patch);
    conv.padding = {0, 0, 0, 0};
    conv.bias = true;
    conv.init = WeightInit::fan_in;
    const std::string layer = "patch_embed.proj";
    ValueId x = builder.conv(images, layer, width, conv);
    const Shape map = builder.shape(x);
    x = builder.reshape(x, layer, Shape{map[0], width, map[2] * map[3]});
    return builder.graph().add_one(Transpose{{0, 2, 1}}, {x}, layer);
}

/// Puts the class token before the others and adds the learned positions.
ValueId add_tokens(GraphBuilder& builder, ValueId x) {
    Graph& graph = builder.graph();
    const int64_t batch = builder.shape(x)[0], tokens = builder.shape(x)[1], width = builder.shape(x)[2];
    const ValueId token = graph.add_parameter("cls_token", Shape{1, 1, width}, normal(1e-6), false);
    // One copy of the token per image: zeros of the batch's shape make the addition broadcast it.
    const ValueId zeros =
        graph.add_constant("cls_token.batch", std::make_shared<const Tensor>(Shape{batch, 1, width}));
    const ValueId tokens_of_batch = builder.add(zeros, token, "cls_token");
    x = graph.add_one(Concat{1}, {tokens_of_batch, x}, "cls_token");
    const ValueId positions =
        graph.add_parameter("pos_embed", Shape{1, tokens + 1, width}, normal(0.02), false);
    return builder.add(x, positions, "pos_embed");
}

ValueId attention(GraphBuilder& builder, ValueId src, const std::string& layer, int64_t heads) {
    Graph& graph = builder.graph();
    const int64_t batch = builder.shape(src)[0], tokens = builder.shape(src)[1],
                  width = builder.shape(src)[2];
    const int64_t head_width = width / heads;
    ValueId qkv = builder.linear(src, layer + ".qkv", 3 * width, linear_init);
    qkv = builder.reshape(qkv, layer, Shape{batch, tokens, 3, heads, head_width});
    qkv = graph.add_one(Transpose{{2, 0, 3, 1, 4}}, {qkv}, layer);
    const auto part = [&](int64_t index) {
        const ValueId slice = graph.add_one(Slice{0, index, index + 1, 1}, {qkv}, layer);
        return builder.reshape(slice, layer, Shape{batch, heads, tokens, head_width});
    };
    const double scale = 1.0 / std::sqrt(static_cast<double>(head_width));
    const ValueId q = graph.add_one(Scale{scale}, {part(0)}, layer);
    const ValueId scores = graph.add_one(MatMul{false, true}, {q, part(1)}, layer + ".scores");
    const ValueId shares = graph.add_one(Softmax{}, {scores}, layer + ".softmax");
    ValueId x = graph.add_one(MatMul{}, {shares, part(2)}, layer + ".context");
    x = graph.add_one(Transpose{{0, 2, 1, 3}}, {x}, layer);
    x = builder.reshape(x, layer, Shape{batch, tokens, width});
    return builder.linear(x, layer + ".proj", width, linear_init);
}

ValueId block(GraphBuilder& builder, ValueId src, const std::string& layer, int64_t heads) {
    const int64_t width = builder.shape(src)[2];
    ValueId x = attention(builder, builder.layer_norm(src, layer + ".norm1"), layer + ".attn", heads);
    src = builder.add(src, x, layer + ".add1");
    x = builder.linear(builder.layer_norm(src, layer + ".norm2"), layer + ".mlp.fc1", 4 * width, linear_init);
    x = builder.gelu(x, layer + ".mlp.act");
    x = builder.linear(x, layer + ".mlp.fc2", width, linear_init);
    return builder.add(src, x, layer + ".add2");
}

Graph vit(std::string_view model, int64_t base_width, int64_t heads, const ModelOptions& options) {
    const int64_t patch = small_image(options) ? 4 : 16;
    const int64_t width = scaled(base_width, options);
    if (options.image[1] % patch != 0 || options.image[2] % patch != 0) {
        refuse("{} cuts images into patches of {}x{}, which do not divide {}x{} pixels", model, patch, patch,
               options.image[1], options.image[2]);
    }
    if (width % heads != 0)
        refuse("{} at width {}: {} channels do not divide into {} heads", model, options.width, width, heads);
    GraphBuilder builder;
    ValueId x = embed_patches(builder, add_images(builder, options), patch, width);
    x = add_tokens(builder, x);
    for (int64_t i = 0; i < blocks; ++i) x = block(builder, x, "blocks." + std::to_string(i), heads);
    x = builder.layer_norm(x, "norm");
    x = builder.graph().add_one(Slice{1, 0, 1, 1}, {x}, "pool");
    x = builder.reshape(x, "pool", Shape{options.batch, width});
    return std::move(builder).finish(builder.linear(x, "head", options.classes, linear_init));
}

}  // namespace

Graph vit_tiny(const ModelOptions& options) { return vit("vit_tiny", 192, 3, options); }
Graph vit_small(const ModelOptions& options) { return vit("vit_small", 384, 6, options); }

}  // namespace enmesh::models
