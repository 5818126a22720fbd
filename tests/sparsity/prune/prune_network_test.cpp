#include "enmesh/sparsity/prune_network.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "enmesh/base/compare.hpp"
#include "enmesh/models/builder.hpp"
#include "enmesh/models/models.hpp"
#include "sparsity/network_runner.hpp"

namespace enmesh {
namespace {

using testing::noisy_values;
using testing::outputs;
using testing::product_weights;
using testing::random_permutations;
using testing::rearranged;

constexpr Pattern pattern{2, 4};

Graph small(const std::string& name) {
    const bool large = name.starts_with("vgg") || name == "lenet5";
    const double width = name == "lenet5" ? 1 : 0.125;
    const int64_t extent = large ? 32 : 16;
    return build_model(name, {.classes = 10, .image = {3, extent, extent}, .width = width, .batch = 2});
}

bool is_nm(const Tensor& weights) {
    const WeightExtents extents = WeightExtents::of(weights.shape());
    for (int64_t output = 0; output < extents.outputs; ++output) {
        for (int64_t position = 0; position < extents.positions; ++position) {
            for (int64_t channel = 0; channel < extents.channels; channel += pattern.m) {
                int kept = 0;
                for (int i = 0; i < pattern.m; ++i) {
                    const int64_t at =
                        (output * extents.channels + channel + i) * extents.positions + position;
                    kept += weights.f32()[at] != 0.0F ? 1 : 0;
                }
                if (kept > pattern.n) return false;
            }
        }
    }
    return true;
}

class ZooPruning : public ::testing::TestWithParam<std::string> {};

TEST_P(ZooPruning, random_permutations_leave_the_function) {
    const Graph graph = small(GetParam());
    const WeightSource source = noisy_values();
    const ChannelGroups groups = find_channel_groups(graph, source, product_weights(graph), 1);
    // Everything behind the first layer can be rearranged in these networks.
    std::set<std::string> read;
    for (const ChannelGroup& group : groups.groups) {
        for (const ChannelGroup::Reader& reader : group.readers) read.insert(reader.weights);
    }
    size_t flattened = 0;
    for (const UnpermutedInput& input : groups.unpermuted)
        flattened += input.reason.find("runs of") != std::string::npos ? 1 : 0;
    EXPECT_EQ(read.size() + flattened + 1, product_weights(graph).size());
    const Comparison same =
        compare(outputs(graph, rearranged(groups, random_permutations(groups), source)).f32(),
                outputs(graph, source).f32(), 1e-4);
    EXPECT_TRUE(same.ok()) << same.describe();
}

TEST_P(ZooPruning, searched_permutations_leave_the_function_and_pruned_weights_are_nm) {
    const Graph graph = small(GetParam());
    const WeightSource source = noisy_values();
    const PruneOptions options{
        .pattern = pattern, .permute = true, .prune = false, .search = PermutationSearch::stripes};
    const NetworkPlan plan = plan_network(graph, source, options, {});
    ASSERT_FALSE(plan.layers.empty());
    size_t moved = 0;
    for (const SearchedGroup& group : plan.groups) moved += group.permuted ? 1 : 0;
    EXPECT_GT(moved, 0U);
    const Tensor before = outputs(graph, source);
    const Comparison same = compare(outputs(graph, pruned_weights(plan, source)).f32(), before.f32(), 1e-4);
    EXPECT_TRUE(same.ok()) << same.describe();

    NetworkPlan pruning = plan;
    pruning.options.prune = true;
    const WeightSource pruned = pruned_weights(pruning, source);
    double plain = 0, kept = 0;
    for (const PrunedLayer& layer : pruning.layers) {
        const Tensor weights = pruned(graph.value(graph.find(layer.name)));
        EXPECT_TRUE(is_nm(weights)) << layer.name;
        EXPECT_FALSE(is_nm(source(graph.value(graph.find(layer.name))))) << layer.name;
        double sum = 0;
        for (const float weight : weights.f32()) sum += std::abs(static_cast<double>(weight));
        EXPECT_NEAR(sum, layer.kept, 1e-6 * layer.magnitude) << layer.name;
        plain += layer.kept_plain;
        kept += layer.kept;
    }
    EXPECT_GT(kept, plain);
    for (const LeftDense& left : plan.left_dense) EXPECT_FALSE(left.reason.empty()) << left.name;
}

INSTANTIATE_TEST_SUITE_P(models, ZooPruning, ::testing::ValuesIn(model_names()));

TEST(prune_network, grouped_convolutions_are_searched_inside_a_group) {
    GraphBuilder b;
    const ValueId images = b.graph().add_input("images", {{2, 3, 6, 6}, DType::f32, {}});
    ConvOptions grouped;
    grouped.groups = 2;
    ValueId maps = b.conv_bn_relu(images, "stem", "stem_bn", "stem_relu", 16);
    maps = b.conv_bn_relu(maps, "grouped", "grouped_bn", "grouped_relu", 24, grouped);
    maps = b.conv_bn_relu(maps, "last", "last_bn", "last_relu", 8, square_conv(1));
    const ValueId scores = b.linear(b.global_average_pool(maps, "pool"), "fc", 5);
    const Graph graph = std::move(b).finish(scores);
    const WeightSource source = noisy_values();
    NetworkPlan plan = plan_network(graph, source, {.pattern = pattern, .permute = true, .prune = false}, {});
    ASSERT_EQ(plan.layers.size(), 2U);
    // One order for the inputs of both groups, and one for the outputs of each.
    ASSERT_EQ(plan.groups.size(), 3U);
    EXPECT_EQ(plan.groups[0].channels, 8);
    EXPECT_EQ(plan.groups[1].channels, 12);
    EXPECT_TRUE(plan.layers[0].exact);
    for (const SearchedGroup& group : plan.groups) EXPECT_TRUE(group.permuted);
    const Comparison same =
        compare(outputs(graph, pruned_weights(plan, source)).f32(), outputs(graph, source).f32(), 1e-4);
    EXPECT_TRUE(same.ok()) << same.describe();
    plan.options.prune = true;
    for (const char* name : {"grouped.weight", "last.weight"})
        EXPECT_TRUE(is_nm(pruned_weights(plan, source)(graph.value(graph.find(name))))) << name;
}

TEST(prune_network, skipped_and_asked_for_layers) {
    const Graph graph = small("resnet18");
    const PruneOptions options{.pattern = pattern};
    const NetworkPlan plan =
        plan_network(graph, noisy_values(), options, {{"fc", true}, {"layer1.0.conv1", false}});
    std::set<std::string> pruned, dense;
    for (const PrunedLayer& layer : plan.layers) pruned.insert(layer.name);
    for (const LeftDense& left : plan.left_dense) dense.insert(left.name);
    EXPECT_TRUE(pruned.contains("fc.weight"));
    EXPECT_EQ(dense, (std::set<std::string>{"conv1.weight", "layer1.0.conv1.weight"}));
    EXPECT_TRUE(plan.groups.empty());
}

TEST(prune_network, transposable_masks_after_a_permutation_keep_no_less) {
    const Graph graph = small("resnet9");
    const PruneOptions options{.pattern = pattern, .permute = true, .transposable = true};
    const WeightSource source = noisy_values();
    const NetworkPlan plan = plan_network(graph, source, options, {});
    double plain = 0, kept = 0;
    for (const PrunedLayer& layer : plan.layers) {
        plain += layer.kept_plain;
        kept += layer.kept;
        EXPECT_TRUE(is_nm(pruned_weights(plan, source)(graph.value(graph.find(layer.name))))) << layer.name;
    }
    EXPECT_GE(kept, plain);
}

}  // namespace
}  // namespace enmesh
