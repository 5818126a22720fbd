#include "step/net.hpp"

namespace enmesh::test {
namespace {

constexpr RunContext context{.seed = 5, .update = 2, .micro_batch = 0};

double loss_of(Executor& executor) {
    executor.gradients(context);
    return doubles(executor, executor.step().loss)[0];
}

/// Every parameter's gradient of the step against central differences of its loss, in float64: up to 40
/// elements of each, spread over it.
void check_gradients(const Graph& graph, double label_smoothing = 0) {
    StepOptions options;
    options.label_smoothing = label_smoothing;
    const auto executor = ready(build_training_step(graph, {}, options));
    loss_of(*executor);
    std::vector<std::vector<double>> gradients;
    for (const StepParameter& parameter : executor->step().parameters)
        gradients.push_back(doubles(*executor, parameter.gradient));
    constexpr double h = 1e-5;
    for (size_t p = 0; p < gradients.size(); ++p) {
        const ValueId id = executor->step().parameters[p].weights;
        const std::string& name = executor->step().graph.value(id).name;
        const std::vector<double> center = doubles(*executor, id);
        EXPECT_GT(largest(gradients[p]), 1e-4) << name << ": a gradient of zero checks nothing";
        const double bound = 1e-7 * std::max(largest(gradients[p]), 0.01);
        const size_t stride = std::max<size_t>(1, center.size() / 40);
        for (size_t i = 0; i < center.size(); i += stride) {
            std::vector<double> moved = center;
            moved[i] = center[i] + h;
            write_doubles(*executor, id, moved);
            const double above = loss_of(*executor);
            moved[i] = center[i] - h;
            write_doubles(*executor, id, moved);
            const double below = loss_of(*executor);
            const double want = (above - below) / (2 * h);
            EXPECT_TRUE(std::abs(gradients[p][i] - want) <= bound)
                << name << "[" << i << "]: " << gradients[p][i] << " against " << want;
        }
        write_doubles(*executor, id, center);
    }
}

/// A parameter of a whole batch's shape, so that the data gradient is checked too.
ValueId moving_source(Net& net) {
    return net.add(Add{}, {net.images, net.parameter("x", net.graph.type(net.images).shape)});
}

void check_conv(const Shape& images, int64_t k, int64_t r, int64_t s, const Conv2d& conv) {
    Net net(images);
    const ValueId src = moving_source(net);
    const ValueId weights = net.parameter("w", {k, images[1] / conv.groups, r, s});
    check_gradients(net.finish(net.add(conv, {src, weights, net.parameter("b", {k})})));
}

TEST(Gradients, Conv2d) {
    check_conv({2, 3, 5, 4}, 4, 3, 3, {.padding = {1, 1, 1, 1}});
    check_conv({2, 3, 7, 6}, 2, 3, 2, {.stride = {2, 3}, .padding = {0, 1, 2, 0}});
    check_conv({1, 2, 8, 7}, 3, 3, 2, {.padding = {2, 0, 1, 1}, .dilation = {2, 3}});
    check_conv({2, 4, 5, 5}, 6, 3, 1, {.stride = {2, 1}, .padding = {1, 0, 1, 0}, .groups = 2});
}

TEST(Gradients, DepthwiseConv2d) {
    check_conv({2, 3, 5, 6}, 3, 3, 3, {.stride = {1, 2}, .padding = {1, 1, 1, 1}, .groups = 3});
    check_conv({1, 2, 4, 5}, 6, 2, 2, {.dilation = {1, 2}, .groups = 2});
}

TEST(Gradients, Linear) {
    Net net({3, 5});
    const ValueId src = moving_source(net);
    check_gradients(
        net.finish(net.add(Linear{}, {src, net.parameter("w", {4, 5}), net.parameter("b", {4})})));
    Net deep({2, 3, 5});
    const ValueId deep_src = moving_source(deep);
    check_gradients(
        deep.finish(deep.add(Linear{}, {deep_src, deep.parameter("w", {2, 5}), deep.parameter("b", {2})})));
}

TEST(Gradients, MatMulInEveryTransposition) {
    for (const bool a : {false, true}) {
        for (const bool b : {false, true}) {
            Net net(a ? Shape{2, 3, 4} : Shape{2, 4, 3});
            const ValueId left = moving_source(net);
            const ValueId right = net.parameter("r", b ? Shape{2, 5, 3} : Shape{2, 3, 5});
            check_gradients(net.finish(net.add(MatMul{a, b}, {left, right})));
        }
    }
}

TEST(Gradients, AddAndMultiplyBroadcast) {
    for (const Shape& other :
         {Shape{2, 3, 4}, Shape{4}, Shape{3, 1}, Shape{1, 3, 4}, Shape{2, 1, 1}, Shape{}}) {
        Net net({2, 3, 4});
        const ValueId sum = net.add(Add{}, {net.parameter("b", other), moving_source(net)});
        const ValueId product = net.add(Multiply{}, {sum, net.parameter("m", other)});
        // Equal shifts of all logits would have no gradient.
        check_gradients(net.finish(net.add(Multiply{}, {net.parameter("y", {2, 3, 4}), product})));
    }
}

TEST(Gradients, ScaleAndManyUses) {
    Net net({2, 6});
    const ValueId x = moving_source(net);
    const ValueId squared = net.add(Multiply{}, {x, x});
    const ValueId sum = net.add(Add{}, {net.add(Scale{-1.5}, {squared}), net.add(Add{}, {x, x})});
    const ValueId weights = net.parameter("shared", {6, 6});
    const ValueId once = net.add(Linear{}, {sum, weights});
    check_gradients(net.finish(net.add(Linear{}, {once, weights})));
}

TEST(Gradients, Activations) {
    Net net({2, 7});
    check_gradients(net.finish(net.add(Relu{}, {moving_source(net)})));
    Net smooth({2, 7});
    check_gradients(smooth.finish(smooth.add(Gelu{}, {moving_source(smooth)})));
}

TEST(Gradients, UnaryOfEveryKind) {
    for (const Unary& unary : unary_of_any_sign()) {
        SCOPED_TRACE(to_string(unary.kind));
        Net net({3, 7});
        const ValueId wide = net.add(Scale{3}, {moving_source(net)});
        check_gradients(net.finish(net.add(unary, {wide})));
    }
    for (const Unary& unary : unary_of_positive_values()) {
        SCOPED_TRACE(to_string(unary.kind));
        Net net({3, 7});
        const ValueId positive = net.add(Unary{UnaryKind::exp}, {moving_source(net)});
        check_gradients(net.finish(net.add(unary, {positive})));
    }
}

TEST(Gradients, SubtractAndDivideBroadcast) {
    for (const Shape& other :
         {Shape{2, 3, 4}, Shape{4}, Shape{3, 1}, Shape{1, 3, 4}, Shape{2, 1, 1}, Shape{}}) {
        Net net({2, 3, 4});
        const ValueId difference = net.add(Subtract{}, {net.parameter("b", other), moving_source(net)});
        const ValueId positive = net.add(Unary{UnaryKind::exp}, {net.parameter("d", other)});
        const ValueId quotient = net.add(Divide{}, {difference, positive});
        const ValueId inverse = net.add(Divide{}, {positive, net.add(Unary{UnaryKind::exp}, {quotient})});
        check_gradients(net.finish(net.add(Subtract{}, {inverse, net.add(Scale{0.3}, {quotient})})));
    }
}

TEST(Gradients, Reduce) {
    for (const std::vector<int64_t>& axes :
         {std::vector<int64_t>{2, 3}, {1}, {3}, {0}, {0, 2}, {1, 2, 3}, {}}) {
        for (const bool mean : {false, true}) {
            for (const bool keep : {false, true}) {
                SCOPED_TRACE(attribute_text(axes));
                Net net({2, 3, 4, 5});
                const ValueId squeezed = net.add(Reduce{axes, mean, keep}, {moving_source(net)});
                Shape kept{2, 3, 4, 5};
                for (const int64_t axis : axes) kept[static_cast<int>(axis)] = 1;
                const ValueId gate = net.add(Reshape{kept}, {squeezed});
                check_gradients(net.finish(net.add(Multiply{}, {net.parameter("y", {2, 3, 4, 5}), gate})));
            }
        }
    }
}

TEST(Gradients, ExpandAndPad) {
    Net net({2, 3, 4});
    const ValueId token = net.add(Expand{{2, 1, 4}, true}, {net.parameter("token", {1, 1, 4})});
    const ValueId joined = net.add(Concat{1}, {token, moving_source(net)});
    const ValueId scaled =
        net.add(Multiply{}, {joined, net.add(Expand{{2, 4, 4}}, {net.parameter("y", {4, 1})})});
    check_gradients(net.finish(net.add(Pad{{0, 1, 0}, {0, 2, 3}, 0.5}, {scaled})));
    Net outermost({2, 3});
    const ValueId padded = outermost.add(Pad{{1, 0}, {2, 0}}, {moving_source(outermost)});
    check_gradients(outermost.finish(outermost.add(Slice{0, 1, 3, 1}, {padded})));
}

TEST(Gradients, ChannelShuffleOfSixAxes) {
    Net net({2, 6, 4, 2});
    const ValueId apart = net.add(Reshape{{2, 2, 3, 2, 2, 2}}, {moving_source(net)});
    const ValueId turned = net.add(Transpose{{0, 2, 1, 4, 3, 5}}, {apart});
    const ValueId weighted = net.add(Multiply{}, {turned, net.parameter("y", {2, 3, 2, 2, 2, 2})});
    check_gradients(net.finish(net.add(Reshape{{2, 6, 4, 2}}, {weighted})));
}

TEST(Gradients, BatchNorm) {
    for (const Shape& shape : {Shape{3, 2, 4, 3}, Shape{5, 3}}) {
        Net net(shape);
        const int64_t c = shape[1];
        const ValueId src = moving_source(net);
        const ValueId dst =
            net.add(BatchNorm{}, {src, net.parameter("gamma", {c}), net.parameter("beta", {c}),
                                  net.state("mean", {c}, 0), net.state("variance", {c}, 1)});
        check_gradients(net.finish(dst));
    }
}

TEST(Gradients, LayerNorm) {
    Net net({2, 3, 5});
    const ValueId src = moving_source(net);
    check_gradients(
        net.finish(net.add(LayerNorm{}, {src, net.parameter("gamma", {5}), net.parameter("beta", {5})})));
}

const PoolWindow odd_windows[] = {
    {},
    {.kernel = {3, 2}, .stride = {2, 3}, .padding = {1, 0, 2, 1}},
    {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .ceil = true},
    {.kernel = {2, 3}, .stride = {3, 2}, .padding = {0, 1, 0, 0}, .ceil = true},
};

TEST(Gradients, MaxPool) {
    for (const PoolWindow& window : odd_windows) {
        Net net({2, 2, 6, 7});
        const ValueId src = moving_source(net);
        check_gradients(net.finish(net.graph.add(MaxPool2d{window}, {src}, "pool")[0]));
    }
}

TEST(Gradients, AveragePool) {
    for (const PoolWindow& window : odd_windows) {
        for (const bool count_padding : {false, true}) {
            Net net({2, 2, 6, 7});
            check_gradients(net.finish(net.add(AveragePool2d{window, count_padding}, {moving_source(net)})));
        }
    }
}

TEST(Gradients, GlobalAveragePool) {
    Net net({2, 3, 4, 5});
    check_gradients(net.finish(net.add(GlobalAveragePool{}, {moving_source(net)})));
}

TEST(Gradients, ShapeOperations) {
    Net net({2, 3, 4, 5});
    const ValueId turned = net.add(Transpose{{0, 3, 1, 2}}, {moving_source(net)});
    const ValueId part = net.add(Slice{1, 1, 5, 3}, {turned});
    const ValueId tail = net.add(Slice{3, 2, 4, 1}, {turned});
    const ValueId flat = net.add(Reshape{{2, 24}}, {part});
    const ValueId joined =
        net.add(Concat{1}, {flat, net.flatten(tail), net.parameter("extra", {2, 3}), net.flatten(tail)});
    check_gradients(net.finish(joined));
}

TEST(Gradients, ConcatAlongOtherAxes) {
    Net net({2, 3, 4});
    const ValueId x = moving_source(net);
    const ValueId wide = net.add(Concat{2}, {x, net.parameter("p", {2, 3, 1})});
    const ValueId joined = net.add(Concat{0}, {wide, net.parameter("q", {1, 3, 5})});
    check_gradients(net.finish(net.add(Slice{0, 1, 3, 1}, {joined})));
}

TEST(Gradients, Softmax) {
    Net net({2, 3, 5});
    check_gradients(net.finish(net.add(Scale{3}, {net.add(Softmax{}, {moving_source(net)})})));
}

TEST(Gradients, Embedding) {
    Net net({2, 3}, DType::i32);
    const ValueId rows = net.add(Embedding{}, {net.images, net.parameter("table", {4, 3})});
    check_gradients(net.finish(rows));  // every image index is 0: row 0 is used six times
}

TEST(Gradients, DropoutWithItsMask) {
    Net net({3, 20});
    const ValueId dropped = net.add(Dropout{0.4, 1}, {moving_source(net)});
    check_gradients(net.finish(net.linear("head", dropped, 5)));
}

TEST(Gradients, CrossEntropyWithSmoothing) {
    Net net({4, 6});
    check_gradients(net.finish(moving_source(net)), 0.1);
}

TEST(Gradients, AttentionOfItsParts) {
    constexpr int64_t batch = 2, tokens = 3, heads = 2, width = 4;
    Net net({batch, tokens, heads * width});
    const ValueId x = moving_source(net);
    const ValueId qkv = net.linear("qkv", x, 3 * heads * width);
    const ValueId split =
        net.add(Transpose{{2, 0, 3, 1, 4}}, {net.add(Reshape{{batch, tokens, 3, heads, width}}, {qkv})});
    const auto part = [&](int64_t i) {
        return net.add(Reshape{{batch, heads, tokens, width}}, {net.add(Slice{0, i, i + 1, 1}, {split})});
    };
    const ValueId scores =
        net.add(Scale{1.0 / std::sqrt(4.0)}, {net.add(MatMul{false, true}, {part(0), part(1)})});
    const ValueId mixed = net.add(MatMul{}, {net.add(Softmax{}, {scores}), part(2)});
    const ValueId merged =
        net.add(Reshape{{batch, tokens, heads * width}}, {net.add(Transpose{{0, 2, 1, 3}}, {mixed})});
    check_gradients(net.finish(net.add(Add{}, {x, net.linear("out", merged, heads * width)})));
}

}  // namespace
}  // namespace enmesh::test
