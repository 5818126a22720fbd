// The blocks that imported networks are made of, each in a small network, one whole training step.
#include <gtest/gtest.h>

#include "cpu/against_reference.hpp"
#include "enmesh/models/builder.hpp"

namespace enmesh::test {
namespace {

class Blocks : public GraphBuilder {
  public:
    explicit Blocks(int64_t batch, int64_t extent = 8) {
        x_ = graph().add_input("images", {{batch, 3, extent, extent}, DType::f32, {}});
    }
    Graph finish_with(ValueId map) && {
        const ValueId logits = linear(global_average_pool(map, "pool"), "fc", 5);
        return std::move(*this).finish(logits);
    }
    ValueId images() const { return x_; }
    ValueId unary(ValueId src, const std::string& layer, const Unary& op) {
        return graph().add_one(op, {src}, layer);
    }
    ValueId relu6(ValueId src, const std::string& layer) {
        return unary(src, layer, Unary{UnaryKind::clip, 0, 6});
    }
    ValueId depthwise(ValueId src, const std::string& layer, int64_t kernel, int64_t stride = 1) {
        ConvOptions options = square_conv(kernel, stride);
        options.groups = shape(src)[1];
        return conv(src, layer, options.groups, options);
    }
    ValueId pointwise(ValueId src, const std::string& layer, int64_t channels) {
        return conv(src, layer, channels, square_conv(1));
    }
    /// Squeeze and excite by two 1×1 convolutions with biases.
    ValueId excite(ValueId src, const std::string& layer, const Unary& inner, const Unary& gate) {
        const int64_t channels = shape(src)[1];
        ConvOptions options = square_conv(1);
        options.bias = true;
        ValueId x = graph().add_one(GlobalAveragePool{}, {src}, layer);
        x = unary(conv(x, layer + ".fc1", channels / 4, options), layer, inner);
        x = unary(conv(x, layer + ".fc2", channels, options), layer, gate);
        return graph().add_one(Multiply{}, {src, x}, layer);
    }

  private:
    ValueId x_;
};

/// The dense step and one with N:M weights, in each layout that can run it.
void check(const Graph& graph, double tolerance) {
    expect_same_step(graph, {}, cpu::MapLayout::images, tolerance);
    expect_same_step(graph, make_recipe("bdwp", Pattern{2, 4}), cpu::MapLayout::automatic, tolerance);
}

TEST(Blocks, MobileNetWithInvertedResiduals) {
    for (const int64_t batch : {8, 3}) {
        Blocks net(batch);
        ValueId x = net.conv_bn(net.images(), "stem", "stem_bn", 16, square_conv(3, 2));
        x = net.unary(x, "stem_act", Unary{UnaryKind::hard_swish});
        const ValueId skip = x;
        x = net.relu6(net.batch_norm(net.pointwise(x, "expand", 32), "bn1"), "relu1");
        x = net.relu6(net.batch_norm(net.depthwise(x, "depthwise", 3), "bn2"), "relu2");
        x = net.batch_norm(net.pointwise(x, "project", 16), "bn3");
        x = net.add(x, skip, "sum");
        x = net.relu6(net.batch_norm(net.depthwise(x, "down", 5, 2), "bn4"), "relu4");
        check(std::move(net).finish_with(x), 1e-4);
    }
}

TEST(Blocks, EfficientNetWithSqueezeAndExcite) {
    for (const int64_t batch : {8, 3}) {
        Blocks net(batch);
        const Unary silu{UnaryKind::silu};
        ValueId x = net.unary(net.conv_bn(net.images(), "stem", "stem_bn", 16), "stem_act", silu);
        const ValueId skip = x;
        x = net.unary(net.batch_norm(net.pointwise(x, "expand", 32), "bn1"), "act1", silu);
        x = net.unary(net.batch_norm(net.depthwise(x, "depthwise", 3), "bn2"), "act2", silu);
        x = net.excite(x, "se", silu, Unary{UnaryKind::sigmoid});
        x = net.add(net.batch_norm(net.pointwise(x, "project", 16), "bn3"), skip, "sum");
        x = net.excite(x, "se2", Unary{UnaryKind::clip, 0, 6}, Unary{UnaryKind::hard_sigmoid, 1.0 / 6, 0.5});
        check(std::move(net).finish_with(x), 1e-4);
    }
}

TEST(Blocks, ShuffleNetUnit) {
    for (const int64_t batch : {8, 3}) {
        Blocks net(batch);
        Graph& graph = net.graph();
        ValueId x = net.conv_bn_relu(net.images(), "stem", "stem_bn", "stem_relu", 16);
        const ValueId left = graph.add_one(Slice{1, 0, 8, 1}, {x}, "split");
        ValueId right = graph.add_one(Slice{1, 8, 16, 1}, {x}, "split");
        right = net.relu(net.batch_norm(net.pointwise(right, "pw1", 8), "bn1"), "relu1");
        right = net.batch_norm(net.depthwise(right, "dw", 3), "bn2");
        right = net.relu(net.batch_norm(net.pointwise(right, "pw2", 8), "bn3"), "relu3");
        x = graph.add_one(Concat{1}, {left, right}, "concat");
        x = net.reshape(x, "shuffle", Shape{batch, 2, 8, 8, 8});
        x = graph.add_one(Transpose{{0, 2, 1, 3, 4}}, {x}, "shuffle");
        x = net.reshape(x, "shuffle", Shape{batch, 16, 8, 8});
        check(std::move(net).finish_with(net.pointwise(x, "last", 16)), 1e-4);
    }
}

TEST(Blocks, DenseNetBlock) {
    for (const int64_t batch : {8, 3}) {
        Blocks net(batch);
        Graph& graph = net.graph();
        std::vector<ValueId> features{net.conv(net.images(), "stem", 16)};
        for (int64_t i = 0; i < 3; ++i) {
            const std::string layer = "layer" + std::to_string(i);
            ValueId x = features.size() == 1 ? features[0] : graph.add_one(Concat{1}, features, layer);
            x = net.relu(net.batch_norm(x, layer + ".norm1"), layer + ".relu1");
            x = net.pointwise(x, layer + ".conv1", 16);
            x = net.relu(net.batch_norm(x, layer + ".norm2"), layer + ".relu2");
            features.push_back(net.conv(x, layer + ".conv2", 4));
        }
        ValueId x = graph.add_one(Concat{1}, features, "concat");
        x = net.pointwise(net.relu(net.batch_norm(x, "norm"), "relu"), "transition", 12);
        x = graph.add_one(AveragePool2d{}, {x}, "transition_pool");
        check(std::move(net).finish_with(x), 2e-4);
    }
}

TEST(Blocks, ConvNextBlock) {
    for (const int64_t batch : {8, 3}) {
        Blocks net(batch);
        Graph& graph = net.graph();
        ConvOptions patch{.kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 0, 0, 0}};
        patch.bias = true;
        ValueId x = net.conv(net.images(), "stem", 16, patch);
        // The norm of channels-first maps, then the block on channels-last rows.
        x = graph.add_one(Transpose{{0, 2, 3, 1}}, {x}, "stem_norm");
        x = graph.add_one(Transpose{{0, 3, 1, 2}}, {net.layer_norm(x, "stem_norm")}, "stem_norm");
        const ValueId skip = x;
        x = net.depthwise(x, "dwconv", 7);
        x = net.layer_norm(graph.add_one(Transpose{{0, 2, 3, 1}}, {x}, "permute"), "norm");
        x = net.linear(net.gelu(net.linear(x, "pwconv1", 64), "act"), "pwconv2", 16);
        const Initializer small{Initializer::Kind::constant, 0.3, nullptr};
        const ValueId gamma = graph.add_parameter("layer_scale", {16, 1, 1}, small, false);
        x = graph.add_one(Transpose{{0, 3, 1, 2}}, {x}, "back");
        x = net.add(skip, graph.add_one(Multiply{}, {x, gamma}, "layer_scale"), "sum");
        check(std::move(net).finish_with(x), 1e-4);
    }
}

TEST(Blocks, InceptionBranchesAndResNextGroups) {
    for (const int64_t batch : {8, 3}) {
        Blocks net(batch);
        Graph& graph = net.graph();
        ValueId x = net.conv_bn_relu(net.images(), "stem", "stem_bn", "stem_relu", 16);
        ConvOptions grouped = square_conv(3);
        grouped.groups = 4;
        ConvOptions wide{.kernel = {1, 7}, .stride = {1, 1}, .padding = {0, 3, 0, 3}};
        const ValueId pool = graph.add(
            MaxPool2d{{.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1, 1, 1}}}, {x}, "pool_branch")[0];
        const std::vector<ValueId> branches{net.pointwise(x, "b1", 8), net.conv(x, "b2", 8, grouped),
                                            net.conv(x, "b3", 4, wide), net.pointwise(pool, "b4", 4)};
        x = net.relu(net.batch_norm(graph.add_one(Concat{1}, branches, "concat"), "bn"), "relu");
        check(std::move(net).finish_with(x), 1e-4);
    }
}

}  // namespace
}  // namespace enmesh::test
