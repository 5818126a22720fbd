#include "enmesh/graph/fold_norms.hpp"

#include "enmesh/models/models.hpp"
#include "step/net.hpp"

namespace enmesh::test {
namespace {

/// Values that no initializer gives, so that every term of the formula counts.
Tensor distinct(const Value& value) {
    uint64_t seed = 7;
    for (const char c : value.name) seed = 31 * seed + static_cast<unsigned char>(c);
    Tensor tensor = random_tensor(value.type.shape, seed);
    for (float& x : tensor.f32()) {
        if (value.name.ends_with("running_var") || value.name.ends_with("variance")) x = 0.3F + x * x;
        if (value.type.shape.rank() == 4) x *= 0.2F;
    }
    return tensor;
}

void write_everything(Executor& executor, const std::map<std::string, Tensor>& folded) {
    const Graph& graph = executor.step().graph;
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        const bool stored = value.role == Role::parameter || value.role == Role::state;
        if (!stored || !value.type.dense()) continue;
        const auto found = folded.find(value.name);
        const Tensor tensor = found != folded.end() ? found->second.clone() : distinct(value);
        executor.write(ValueId{static_cast<int>(i)}, tensor);
    }
    executor.write(executor.step().images, random_tensor(graph.type(executor.step().images).shape, 2));
    executor.write(executor.step().labels, labels_of(executor.step()));
    executor.refresh();
    executor.gradients({});
}

/// Logits with and without the norms folded, and how many were.
int check_folded(const Graph& graph, const Recipe& recipe = {}) {
    const FoldedNorms folded = fold_batch_norms(
        graph, [&](const std::string& name) { return distinct(graph.value(graph.find(name))); });
    const auto plain = make_reference_executor(build_inference_step(graph, recipe), DType::f32);
    const auto without = make_reference_executor(build_inference_step(folded.graph, recipe), DType::f32);
    write_everything(*plain, {});
    write_everything(*without, folded.values);
    expect_near(doubles(*without, without->step().logits), doubles(*plain, plain->step().logits), 1e-5,
                "logits");
    int left = 0;
    for (const Node& node : folded.graph.nodes()) left += node.operation.is<BatchNorm>() ? 1 : 0;
    EXPECT_EQ(left, folded.left);
    return folded.folded;
}

ValueId norm(Net& net, const std::string& name, ValueId src) {
    const int64_t c = net.graph.type(src).shape[1];
    return net.add(BatchNorm{.epsilon = 0.01},
                   {src, net.parameter(name + ".weight", {c}), net.parameter(name + ".bias", {c}),
                    net.state(name + ".running_mean", {c}, 0), net.state(name + ".running_var", {c}, 1)});
}

TEST(FoldNorms, IntoConvolutionsAndLinearLayers) {
    Net net({3, 4, 5, 5});
    ValueId x = norm(net, "bn1", net.conv("conv1", net.images, 6, 3));
    x = norm(net, "bn2",
             net.add(Conv2d{.groups = 6},
                     {net.add(Relu{}, {x}), net.parameter("dw", {6, 1, 2, 2}), net.parameter("dw_b", {6})}));
    x = norm(net, "bn3", net.linear("fc1", net.flatten(x), 7));
    EXPECT_EQ(check_folded(net.finish(net.linear("fc2", net.add(Relu{}, {x}), 4))), 3);
}

TEST(FoldNorms, StayWhereSomethingElseUsesTheProduct) {
    Net net({3, 4, 5, 5});
    const ValueId conv = net.conv("conv", net.images, 4, 1);
    const ValueId sum = net.add(Add{}, {conv, norm(net, "bn", conv)});
    const ValueId of_sum = norm(net, "bn_sum", sum);
    const ValueId weights = net.parameter("shared", {4, 4, 1, 1});
    const ValueId first = norm(net, "bn_a", net.add(Conv2d{}, {of_sum, weights}));
    EXPECT_EQ(check_folded(net.finish(norm(net, "bn_b", net.add(Conv2d{}, {first, weights})))), 0);
}

TEST(FoldNorms, OfWholeNetworksDenseAndSparse) {
    const ModelOptions options{.classes = 5, .image = {3, 16, 16}, .width = 0.25, .batch = 2};
    EXPECT_EQ(check_folded(build_model("resnet18", options)), 20);
    EXPECT_EQ(check_folded(build_model("resnet18", options), make_recipe("bdwp", Pattern{2, 8})), 20);
}

}  // namespace
}  // namespace enmesh::test
