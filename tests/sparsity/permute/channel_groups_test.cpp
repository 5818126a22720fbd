#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include "enmesh/base/compare.hpp"
#include "enmesh/models/builder.hpp"
#include "sparsity/network_runner.hpp"
#include "sparsity/permute/channel_orders.hpp"

namespace enmesh {
namespace {

using testing::noisy_values;
using testing::outputs;
using testing::product_weights;
using testing::random_permutations;
using testing::rearranged;

/// Resolved, with what is fixed for several reasons in one run.
ChannelOrder plain(const ChannelOrders& orders, const ChannelOrder& order) {
    ChannelOrder runs;
    for (const ChannelRun run : orders.resolved(order)) {
        if (run.fixed() && !runs.empty() && runs.back().fixed()) {
            runs.back().inner += run.inner;
        } else {
            runs.push_back(run);
        }
    }
    return runs;
}

std::string text(const ChannelOrders& orders, const ChannelOrder& order) {
    std::vector<std::string> parts;
    for (const ChannelRun run : plain(orders, order)) {
        parts.push_back(run.fixed() ? fmt::format("fixed {}", run.inner)
                                    : fmt::format("{} x {}", orders.channels(run.space), run.inner));
    }
    return fmt::format("{}", fmt::join(parts, ", "));
}

TEST(channel_orders, spaces_that_meet_are_divided_where_their_parts_end) {
    ChannelOrders orders;
    const ChannelOrder a = orders.free(4), b = orders.free(6), whole = orders.free(10);
    orders.unify(orders.concatenated({a, b}, ""), whole, "");
    EXPECT_EQ(text(orders, whole), "4 x 1, 6 x 1");
    EXPECT_EQ(orders.resolved(whole)[0].space, orders.resolved(a)[0].space);
    const ChannelOrder cut = orders.slice(whole, 2, 7, "");
    EXPECT_EQ(text(orders, cut), "2 x 1, 3 x 1");
    EXPECT_EQ(text(orders, a), "2 x 1, 2 x 1");
    EXPECT_EQ(text(orders, b), "3 x 1, 3 x 1");
    orders.fix(cut, "for a test");
    EXPECT_EQ(text(orders, whole), "2 x 1, fixed 5, 3 x 1");
    EXPECT_EQ(orders.reason(whole), "for a test");
}

TEST(channel_orders, one_space_against_itself_displaced_repeats) {
    ChannelOrders orders;
    const ChannelOrder s = orders.free(4), a = orders.free(2);
    orders.unify(orders.concatenated({s, a}, ""), orders.concatenated({a, s}, ""), "");
    EXPECT_EQ(text(orders, s), "2 x 1, 2 x 1");
    EXPECT_EQ(orders.resolved(s)[0].space, orders.resolved(s)[1].space);
    EXPECT_EQ(orders.resolved(s)[0].space, orders.resolved(a)[0].space);
}

TEST(channel_orders, flattened_maps_travel_with_their_channel) {
    ChannelOrders orders;
    const ChannelOrder channels = orders.free(6), rows = orders.fixed(5, "rows");
    const ChannelOrder flat = orders.merged({channels, rows}, "");
    EXPECT_EQ(text(orders, flat), "6 x 5");
    const ChannelOrder features = orders.free(30);
    orders.unify(flat, features, "");
    EXPECT_EQ(text(orders, features), "6 x 5");
    const auto back = orders.split(features, {6, 5}, "");
    EXPECT_EQ(text(orders, back[0]), "6 x 1");
    EXPECT_TRUE(orders.all_fixed(back[1]));
    // Heads: the parts move alike.
    const ChannelOrder heads = orders.free(12);
    const auto parts = orders.split(heads, {3, 4}, "");
    EXPECT_TRUE(orders.all_fixed(parts[0]));
    EXPECT_EQ(text(orders, parts[1]), "4 x 1");
    EXPECT_EQ(text(orders, heads), "4 x 1, 4 x 1, 4 x 1");
    EXPECT_EQ(text(orders, orders.merged(parts, "")), "4 x 1, 4 x 1, 4 x 1");
    // A cut through a channel's elements leaves nothing to move.
    orders.slice(flat, 0, 7, "cut");
    EXPECT_EQ(text(orders, channels), "fixed 6");
}

/// After any demands the two sides of the last one consist of the same runs, and no axis has changed its
/// size.
TEST(channel_orders, what_was_made_to_move_alike_does) {
    Random random(3);
    for (int trial = 0; trial < 300; ++trial) {
        ChannelOrders orders;
        constexpr int64_t extent = 24;
        std::vector<ChannelOrder> axes;
        const auto axis = [&]() -> ChannelOrder {
            if (!axes.empty() && random.below(3) == 0) return axes[random.below(axes.size())];
            std::vector<ChannelOrder> parts;
            for (int64_t left = extent; left > 0;) {
                const auto channels = static_cast<int64_t>(1 + random.below(static_cast<uint64_t>(left)));
                const auto inner = static_cast<int64_t>(1 + random.below(3));
                if (channels * inner > left) continue;
                parts.push_back(
                    random.below(8) == 0
                        ? orders.fixed(channels * inner, "random")
                        : orders.merged({orders.free(channels), orders.fixed(inner, "inner")}, "merge"));
                left -= channels * inner;
            }
            return orders.concatenated(parts, "many");
        };
        for (int i = 0; i < 6; ++i) {
            axes.push_back(axis());
            const ChannelOrder other = axes[random.below(axes.size())];
            if (random.below(3) == 0) orders.slice(other, random.below(12), 13 + random.below(11), "slice");
            orders.unify(axes.back(), other, "unify");
            EXPECT_EQ(text(orders, axes.back()), text(orders, other));
            const ChannelOrder x = plain(orders, axes.back()), y = plain(orders, other);
            for (size_t run = 0; run < std::min(x.size(), y.size()); ++run) {
                if (x[run].fixed()) continue;
                EXPECT_EQ(x[run].space, y[run].space);
            }
        }
        for (const ChannelOrder& each : axes) EXPECT_EQ(orders.extent(orders.resolved(each)), extent);
    }
}

/// Random permutations forced through a network must not change what it gives, and must move something.
void expect_unchanged(const Graph& graph, size_t least_groups) {
    const WeightSource source = noisy_values();
    const std::vector<std::string> weights = product_weights(graph);
    const ChannelGroups groups = find_channel_groups(graph, source, weights, 1);
    ASSERT_GE(groups.groups.size(), least_groups) << fmt::format(
        "{}",
        groups.unpermuted.empty() ? "" : groups.unpermuted[0].weights + ": " + groups.unpermuted[0].reason);
    const Tensor before = outputs(graph, source);
    const WeightSource moved = rearranged(groups, random_permutations(groups), source);
    const Comparison same = compare(outputs(graph, moved).f32(), before.f32(), 1e-5);
    EXPECT_TRUE(same.ok()) << same.describe();
    // The same without one of the axes: whatever follows the channels is needed.
    for (size_t left_out = 0; left_out < groups.axes.size(); ++left_out) {
        ChannelGroups wrong = groups;
        wrong.axes.erase(wrong.axes.begin() + static_cast<std::ptrdiff_t>(left_out));
        const WeightSource broken = rearranged(wrong, random_permutations(groups), source);
        EXPECT_FALSE(compare(outputs(graph, broken).f32(), before.f32(), 1e-5).ok())
            << groups.axes[left_out].value << " axis " << groups.axes[left_out].axis;
    }
}

struct Small {
    GraphBuilder b;
    ValueId images;
    Small() { images = b.graph().add_input("images", {{2, 3, 4, 4}, DType::f32, {}}); }
    ValueId op(Operation operation, std::vector<ValueId> inputs, const std::string& layer) {
        return b.graph().add_one(std::move(operation), std::move(inputs), layer);
    }
    ValueId pooled_scores(ValueId maps) { return b.linear(b.global_average_pool(maps, "pool"), "fc", 5); }
    Graph finish(ValueId output) { return std::move(b).finish(output); }
};

TEST(channel_groups, branches_that_are_added_move_alike) {
    Small s;
    const ValueId stem = s.b.conv_bn_relu(s.images, "stem", "stem_bn", "stem_relu", 8);
    const ValueId left = s.b.conv(stem, "left", 8),
                  right = s.b.conv_bn(stem, "right", "right_bn", 8, square_conv(1));
    const Graph graph = s.finish(s.pooled_scores(s.b.add(left, right, "sum")));
    expect_unchanged(graph, 2);
    const ChannelGroups groups = find_channel_groups(graph, noisy_values(), product_weights(graph), 4);
    ASSERT_EQ(groups.groups.size(), 2U);
    EXPECT_EQ(groups.groups[0].readers.size(), 2U);  // siblings
    EXPECT_EQ(groups.groups[0].producers, std::vector<std::string>{"stem.weight"});
    EXPECT_EQ(groups.groups[1].producers, (std::vector<std::string>{"left.weight", "right.weight"}));
    ASSERT_EQ(groups.unpermuted.size(), 1U);
    EXPECT_EQ(groups.unpermuted[0].weights, "stem.weight");
    EXPECT_NE(groups.unpermuted[0].reason.find("input"), std::string::npos);
}

TEST(channel_groups, gates_depthwise_and_grouped_convolutions) {
    Small s;
    const ValueId stem = s.b.conv_bn_relu(s.images, "stem", "stem_bn", "stem_relu", 8);
    ConvOptions depthwise;
    depthwise.groups = 8;
    depthwise.bias = true;
    const ValueId dw = s.b.batch_norm(s.b.conv(stem, "dw", 8, depthwise), "dw_bn");
    const ValueId squeezed = s.op(GlobalAveragePool{}, {dw}, "squeeze");
    const ValueId reduced = s.b.gelu(s.b.conv(squeezed, "reduce", 4, square_conv(1)), "gelu");
    const ValueId gate =
        s.op(Unary{UnaryKind::silu}, {s.b.conv(reduced, "expand", 8, square_conv(1))}, "gate");
    const ValueId gated = s.op(Multiply{}, {dw, gate}, "scale");
    ConvOptions grouped;
    grouped.groups = 2;
    const ValueId two = s.b.relu(s.b.conv(gated, "grouped", 12, grouped), "grouped_relu");
    ConvOptions twice;
    twice.groups = 12;
    const ValueId both = s.op(Concat{1}, {two, s.b.conv(two, "twice", 24, twice)}, "both");
    expect_unchanged(s.finish(s.pooled_scores(both)), 4);
}

TEST(channel_groups, concatenated_sliced_padded_and_flattened_maps) {
    Small s;
    const ValueId a = s.b.relu(s.b.conv(s.images, "a", 4), "relu_a"), b = s.b.conv(s.images, "b", 8);
    const ValueId both = s.b.batch_norm(s.op(Concat{1}, {a, b, s.images}, "both"), "norm");
    const ValueId middle = s.op(Slice{1, 2, 9, 1}, {both}, "slice");
    const ValueId more = s.b.conv(middle, "more", 6);
    const ValueId padded = s.op(Pad{{0, 0, 0, 0}, {0, 2, 0, 0}}, {more}, "pad");
    const ValueId flat = s.b.flatten(s.b.max_pool(s.b.conv(padded, "last", 6), "pool", 2, 2), "flat");
    const Graph graph = s.finish(s.b.linear(s.b.relu(s.b.linear(flat, "fc1", 8), "fc_relu"), "fc2", 5));
    expect_unchanged(graph, 3);
}

TEST(channel_groups, channel_shuffle) {
    Small s;
    const ValueId a = s.b.conv(s.images, "a", 8), b = s.b.conv(s.images, "b", 8);
    const ValueId both = s.op(Concat{1}, {a, b}, "both");
    const ValueId parted = s.op(Reshape{{2, 2, 8, 4, 4}}, {both}, "part");
    const ValueId turned = s.op(Transpose{{0, 2, 1, 3, 4}}, {parted}, "turn");
    const ValueId shuffled = s.op(Reshape{{2, 16, 4, 4}}, {turned}, "shuffle");
    const ValueId half = s.op(Slice{1, 0, 8, 1}, {shuffled}, "half");
    const Graph graph = s.finish(s.pooled_scores(s.b.conv(half, "c", 6)));
    const ChannelGroups groups = find_channel_groups(graph, noisy_values(), product_weights(graph), 1);
    bool told = false;
    for (const UnpermutedInput& input : groups.unpermuted)
        told = told || (input.weights == "c.weight" && input.reason.find("runs of 2") != std::string::npos);
    EXPECT_TRUE(told);
    expect_unchanged(graph, 1);
}

TEST(channel_groups, what_tells_channels_apart_fixes_them) {
    Small s;
    const ValueId a = s.b.conv(s.images, "a", 4);
    const auto ramp = std::make_shared<Tensor>(Shape{4, 1, 1});
    for (int i = 0; i < 4; ++i) ramp->f32()[i] = static_cast<float>(i);
    const ValueId scaled = s.op(Multiply{}, {a, s.b.graph().add_constant("ramp", ramp)}, "scale");
    const ValueId b = s.b.conv(scaled, "b", 6);
    const ValueId odd = s.op(Slice{1, 0, 6, 2}, {b}, "odd");
    const ValueId c = s.b.conv(odd, "c", 6);
    const Graph graph = s.finish(s.pooled_scores(c));
    const ChannelGroups groups = find_channel_groups(graph, noisy_values(), product_weights(graph), 1);
    ASSERT_EQ(groups.groups.size(), 1U);
    EXPECT_EQ(groups.groups[0].producers, std::vector<std::string>{"c.weight"});
    ASSERT_EQ(groups.unpermuted.size(), 3U);
    EXPECT_NE(groups.unpermuted[1].reason.find("ramp"), std::string::npos);
    EXPECT_NE(groups.unpermuted[2].reason.find("slice of 'odd'"), std::string::npos);
    expect_unchanged(graph, 1);
}

/// What an exporter merged because it was equal, ones say, must not tie layers together.
TEST(channel_groups, uniform_values_tie_nothing_together) {
    Small s;
    const auto ones = std::make_shared<Tensor>(Shape{8});
    std::fill(ones->f32().begin(), ones->f32().end(), 1.0F);
    const Initializer given{Initializer::Kind::given, 0, ones};
    std::vector<ValueId> norm;
    for (const char* name : {"gamma", "beta"})
        norm.push_back(s.b.graph().add_parameter(name, {8}, given, false));
    for (const char* name : {"mean", "variance"})
        norm.push_back(s.b.graph().add_state(name, {{8}, DType::f32, {}}, given));
    const auto normed = [&](ValueId src, const char* layer) {
        return s.op(BatchNorm{.training = false}, {src, norm[0], norm[1], norm[2], norm[3]}, layer);
    };
    const ValueId a = normed(s.b.conv(s.images, "a", 8), "norm_a");
    const ValueId b = normed(s.b.conv(a, "b", 8), "norm_b");
    const Graph graph = s.finish(s.pooled_scores(b));
    const WeightSource source = [](const Value& value) { return initial_value(value, 3); };
    EXPECT_EQ(find_channel_groups(graph, source, product_weights(graph), 1).groups.size(), 2U);
    EXPECT_EQ(find_channel_groups(graph, noisy_values(), product_weights(graph), 1).groups.size(), 1U);
}

}  // namespace
}  // namespace enmesh
