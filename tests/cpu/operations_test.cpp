#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "cpu/against_reference.hpp"
#include "cpu/ops/strided.hpp"

namespace enmesh::test {
namespace {

using cpu::MapLayout;

/// A convolution in front and one behind bring the values between them into the network's layout; `build`
/// adds what stands between. Maps have 16 channels, which fill the blocks of every instruction set.
void check_between_convolutions(const std::function<ValueId(Net&, ValueId)>& build, double tolerance = 2e-5) {
    for (const int64_t batch : {8, 6, 3}) {
        for (const MapLayout layout : {MapLayout::images, MapLayout::channels}) {
            SCOPED_TRACE("batch " + std::to_string(batch) +
                         (layout == MapLayout::images ? ", images" : ", channels"));
            Net net({batch, 3, 5, 4});
            const ValueId map = net.conv("front", net.images, 16, 3, {.padding = {1, 1, 1, 1}});
            ValueId result = build(net, map);
            if (net.graph.type(result).shape.rank() == 4 && net.graph.type(result).shape[1] % 16 == 0)
                result = net.conv("behind", result, 16, 1);
            expect_same_step(net.finish(result), {}, layout, tolerance);
        }
    }
}

TEST(CpuOperations, UnaryOfEveryKind) {
    for (const Unary& unary : unary_of_any_sign()) {
        SCOPED_TRACE(to_string(unary.kind));
        check_between_convolutions([&](Net& net, ValueId map) { return net.add(unary, {map}); });
    }
    for (const Unary& unary : unary_of_positive_values()) {
        SCOPED_TRACE(to_string(unary.kind));
        check_between_convolutions([&](Net& net, ValueId map) {
            const ValueId positive = net.add(Unary{UnaryKind::exp}, {net.add(Scale{0.5}, {map})});
            return net.add(unary, {positive});
        });
    }
}

TEST(CpuOperations, BinaryBroadcastsOntoMaps) {
    const Shape operands[] = {{},     {1},    {16, 1, 1}, {1, 16, 1, 1}, {4},
                              {5, 1}, {5, 4}, {16, 5, 4}, {1, 1, 5, 4},  {1, 16, 1, 4}};
    for (const Shape& operand : operands) {
        SCOPED_TRACE(to_string(operand));
        check_between_convolutions([&](Net& net, ValueId map) {
            const ValueId p = net.parameter("p", operand);
            const ValueId positive = net.add(Unary{UnaryKind::exp}, {net.parameter("d", operand)});
            const ValueId sum = net.add(Subtract{}, {p, net.add(Add{}, {map, p})});
            return net.add(Divide{}, {net.add(Multiply{}, {sum, p}), positive});
        });
    }
}

TEST(CpuOperations, BinaryOfMapsAndPerImageValues) {
    // The gate of squeeze-and-excite, plain and blocked, and a map of one channel.
    check_between_convolutions([](Net& net, ValueId map) {
        const ValueId squeezed = net.add(GlobalAveragePool{}, {map});
        const ValueId gate = net.add(Unary{UnaryKind::sigmoid}, {net.conv("gate", squeezed, 16, 1)});
        return net.add(Multiply{}, {gate, net.add(Multiply{}, {map, squeezed})});
    });
    check_between_convolutions([](Net& net, ValueId map) {
        const ValueId spatial = net.add(Reduce{{1}, true}, {map});
        return net.add(Subtract{}, {map, spatial});
    });
    check_between_convolutions([](Net& net, ValueId map) {
        const ValueId same = net.parameter("same", net.graph.type(map).shape);
        return net.add(Divide{}, {map, net.add(Unary{UnaryKind::exp}, {same})});
    });
}

TEST(CpuOperations, BinaryOfRows) {
    for (const Shape& operand : {Shape{7}, Shape{3, 1}, Shape{2, 1, 1}, Shape{1, 3, 7}}) {
        Net net({2, 3, 7});
        const ValueId x = net.add(Multiply{}, {net.images, net.parameter("p", operand)});
        const ValueId outer = net.add(Add{}, {x, net.parameter("deep", {2, 2, 1, 7})});
        expect_same_step(net.finish(outer));
    }
}

TEST(CpuOperations, Reduce) {
    for (const std::vector<int64_t>& axes :
         {std::vector<int64_t>{2, 3}, {1}, {3}, {2}, {0}, {0, 2}, {1, 2, 3}, {0, 1, 2, 3}}) {
        for (const bool mean : {false, true}) {
            SCOPED_TRACE(attribute_text(axes));
            check_between_convolutions([&](Net& net, ValueId map) {
                const ValueId reduced = net.add(Reduce{axes, mean}, {map});
                return net.add(Add{}, {map, net.add(Unary{UnaryKind::tanh}, {reduced})});
            });
        }
    }
    Net rows({4, 9, 70});
    const ValueId x = rows.linear("l", rows.images, 70);
    expect_same_step(rows.finish(rows.add(Reduce{{1}, true, false}, {x})));
}

TEST(CpuOperations, LongSumsKeepTheirDigits) {
    const cpu::LaneSplit none{cpu::plain_layout};
    const Shape shape{3, 40000, 5};
    std::vector<float> src(static_cast<size_t>(shape.elements()), 1.0F / 3);
    for (const Shape& kept : {Shape{3, 1, 1}, Shape{1, 1, 5}, Shape{1, 1, 1}, Shape{3, 1, 5}}) {
        const cpu::StridedSum sum(cpu::make_loops(shape, none,
                                                  {cpu::split_strides(kept, cpu::plain_layout, 3, none),
                                                   cpu::split_strides(shape, cpu::plain_layout, 3, none)}),
                                  1);
        std::vector<float> dst(static_cast<size_t>(kept.elements()), 0.0F);
        sum.run(src.data(), dst.data());
        const double want = static_cast<double>(shape.elements() / kept.elements()) / 3;
        for (const float value : dst) EXPECT_NEAR(static_cast<double>(value), want, 1e-5 * want);
    }
}

TEST(CpuOperations, SlicesOfEveryAxis) {
    const Slice slices[] = {{0, 1, 3, 1}, {0, 0, 3, 2}, {1, 0, 16, 1},
                            {1, 3, 9, 2}, {2, 1, 5, 3}, {3, 3, 4, 1}};
    for (const Slice& slice : slices) {
        SCOPED_TRACE(attributes_text(slice));
        for (const int64_t batch : {8, 3}) {
            for (const MapLayout layout : {MapLayout::images, MapLayout::channels}) {
                Net net({batch, 3, 5, 4});
                const ValueId map = net.conv("front", net.images, 16, 1);
                const ValueId part = net.add(slice, {map});
                // Another use of the map, so that gradients of two layouts meet.
                const ValueId sum = net.add(Add{}, {map, net.add(Reduce{{0, 1, 2, 3}}, {part})});
                expect_same_step(net.finish(sum), {}, layout);
            }
        }
    }
}

TEST(CpuOperations, SplitAndConcatAlongChannels) {
    for (const int64_t part : {16, 8, 5}) {
        check_between_convolutions([&](Net& net, ValueId map) {
            const ValueId wide = net.conv("wide", map, 32, 1);
            const ValueId left = net.add(Slice{1, 0, part, 1}, {wide});
            const ValueId right = net.add(Slice{1, part, 32, 1}, {wide});
            const ValueId turned = net.add(Concat{1}, {right, net.add(Relu{}, {left})});
            return net.add(Concat{1}, {turned, map});
        });
    }
}

TEST(CpuOperations, ConcatAlongOtherAxes) {
    for (const int64_t axis : {0, 2, 3}) {
        check_between_convolutions([&](Net& net, ValueId map) {
            const ValueId other = net.parameter("other", net.graph.type(map).shape);
            const ValueId joined = net.add(Concat{axis}, {other, map, map});
            const int64_t extent = net.graph.type(map).shape[static_cast<int>(axis)];
            return net.add(Slice{axis, 1, extent + 1, 1}, {joined});
        });
    }
}

TEST(CpuOperations, TransposesOfMaps) {
    const std::vector<std::vector<int64_t>> orders = {{0, 2, 3, 1}, {0, 3, 1, 2}, {0, 1, 3, 2}, {1, 0, 2, 3},
                                                      {3, 2, 1, 0}, {0, 2, 1, 3}, {1, 2, 3, 0}, {0, 1, 2, 3}};
    for (const std::vector<int64_t>& order : orders) {
        SCOPED_TRACE(attribute_text(order));
        check_between_convolutions([&](Net& net, ValueId map) {
            const ValueId turned = net.add(Transpose{order}, {map});
            const ValueId y = net.parameter("y", net.graph.type(turned).shape);
            std::vector<int64_t> back(4);
            for (size_t i = 0; i < 4; ++i) back[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
            return net.add(Transpose{back}, {net.add(Multiply{}, {turned, y})});
        });
    }
}

TEST(CpuOperations, RearrangementsOfSixAxes) {
    // Channel shuffle, pixel unshuffle and back, on six axes.
    check_between_convolutions([](Net& net, ValueId map) {
        const int64_t batch = net.graph.type(map).shape[0];
        const ValueId apart = net.add(Reshape{{batch, 4, 2, 2, 5, 4}}, {map});
        const ValueId turned = net.add(Transpose{{0, 2, 1, 3, 4, 5}}, {apart});
        const ValueId whole = net.add(Reshape{{batch, 16, 5, 4}}, {turned});
        const ValueId pixels = net.add(Reshape{{batch, 8, 2, 5, 2, 2}}, {whole});
        const ValueId unshuffled = net.add(Transpose{{0, 1, 4, 5, 3, 2}}, {pixels});
        return net.add(Reshape{{batch, 16, 5, 4}}, {net.add(Relu{}, {unshuffled})});
    });
}

TEST(CpuOperations, PadAndExpand) {
    for (const int64_t axis : {0, 1, 2, 3}) {
        check_between_convolutions([&](Net& net, ValueId map) {
            Pad pad{{0, 0, 0, 0}, {0, 0, 0, 0}, -0.5};
            pad.before[static_cast<size_t>(axis)] = 2;
            pad.after[static_cast<size_t>(axis)] = 1;
            const ValueId padded = net.add(pad, {map});
            const int64_t extent = net.graph.type(map).shape[static_cast<int>(axis)];
            return net.add(Slice{axis, 1, extent + 1, 1}, {padded});
        });
    }
    check_between_convolutions([](Net& net, ValueId map) {
        const Shape shape = net.graph.type(map).shape;
        const ValueId channel = net.add(Expand{shape}, {net.parameter("c", {16, 1, 1})});
        const ValueId image =
            net.add(Expand{shape}, {net.conv("gate", net.add(GlobalAveragePool{}, {map}), 16, 1)});
        return net.add(Multiply{}, {net.add(Add{}, {map, channel}), image});
    });
}

TEST(CpuOperations, ClassTokenAndMeanOfTokens) {
    Net net({4, 3, 6, 6});
    const ValueId patches = net.conv("patch", net.images, 16, 3, {.stride = {3, 3}});
    const ValueId rows = net.add(Transpose{{0, 2, 1}}, {net.add(Reshape{{4, 16, 4}}, {patches})});
    const ValueId token = net.add(Expand{{4, 1, 16}, true}, {net.parameter("token", {1, 1, 16})});
    const ValueId all = net.add(Concat{1}, {token, rows});
    const ValueId mixed = net.linear("mix", all, 16);
    const ValueId first = net.add(Reshape{{4, 16}}, {net.add(Slice{1, 0, 1, 1}, {mixed})});
    const ValueId mean = net.add(Reduce{{1}, true, false}, {mixed});
    expect_same_step(net.finish(net.add(Multiply{}, {first, mean})));
}

TEST(CpuOperations, LayerNormOfChannelsLastMaps) {
    check_between_convolutions(
        [](Net& net, ValueId map) {
            const ValueId rows = net.add(Transpose{{0, 2, 3, 1}}, {map});
            const ValueId norm = net.graph.add(
                LayerNorm{}, {rows, net.parameter("gamma", {16}), net.parameter("beta", {16})}, "norm")[0];
            const ValueId wide = net.add(Gelu{}, {net.linear("up", norm, 32)});
            return net.add(Transpose{{0, 3, 1, 2}}, {net.linear("down", wide, 16)});
        },
        1e-4);
}

TEST(CpuOperations, ConvolutionsOfEveryGeometry) {
    const Conv2d geometries[] = {
        {.padding = {1, 1, 1, 1}, .groups = 16},
        {.stride = {2, 2}, .padding = {0, 1, 1, 0}, .groups = 16},
        {.stride = {2, 1}, .padding = {0, 0, 1, 1}},
        {.padding = {2, 2, 2, 2}, .dilation = {2, 2}},
        {.stride = {1, 2}, .padding = {3, 1, 0, 2}, .dilation = {2, 1}, .groups = 16},
    };
    for (const Conv2d& geometry : geometries) {
        SCOPED_TRACE(attributes_text(geometry));
        check_between_convolutions([&](Net& net, ValueId map) {
            const ValueId weights = net.parameter("w", {16, 16 / geometry.groups, 3, 3});
            return net.add(geometry, {map, weights, net.parameter("b", {16})});
        });
    }
    for (const int64_t groups : {2, 4}) {  // the channel layout has no grouped convolutions
        for (const int64_t batch : {8, 3}) {
            Net net({batch, 8, 5, 4});
            const Conv2d geometry{.stride = {1, 2}, .padding = {1, 0, 1, 2}, .groups = groups};
            const ValueId weights = net.parameter("w", {12, 8 / groups, 3, 3});
            const ValueId moved = net.add(Add{}, {net.images, net.parameter("x", {8, 5, 4})});
            expect_same_step(net.finish(net.add(geometry, {moved, weights, net.parameter("b", {12})})));
        }
    }
}

TEST(CpuOperations, PoolsOfEveryGeometry) {
    const PoolWindow windows[] = {
        {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .ceil = true},
        {.kernel = {2, 2}, .stride = {2, 2}, .ceil = true},
        {.kernel = {3, 2}, .stride = {1, 2}, .padding = {1, 0, 2, 1}},
    };
    for (const PoolWindow& window : windows) {
        check_between_convolutions(
            [&](Net& net, ValueId map) { return net.graph.add(MaxPool2d{window}, {map}, "pool")[0]; });
        for (const bool count_padding : {false, true}) {
            check_between_convolutions([&](Net& net, ValueId map) {
                return net.add(AveragePool2d{window, count_padding}, {map});
            });
        }
    }
}

TEST(CpuOperations, ConvolutionsAndSumsAreStoredClipped) {
    const auto build = [](Net& net, ValueId map) {
        const ValueId a = net.add(Relu{}, {net.conv("a", map, 16, 3, {.padding = {1, 1, 1, 1}})});
        const ValueId b =
            net.add(Conv2d{}, {a, net.parameter("b.weight", {16, 16, 1, 1}), net.parameter("b.bias", {16})});
        const ValueId sum = net.add(Relu{}, {net.add(Add{}, {net.add(Relu{}, {b}), a})});
        const ValueId kept = net.conv("kept", sum, 16, 1);  // used twice: not stored clipped
        return net.add(Add{}, {kept, net.add(Relu{}, {kept})});
    };
    check_between_convolutions(build);
    Net net({8, 3, 5, 4});
    const Graph graph = net.finish(build(net, net.conv("front", net.images, 16, 1)));
    expect_same_step(graph, make_recipe("bdwp", Pattern{2, 8}));
    cpu::Options options;
    options.layout = MapLayout::images;
    const auto executor = cpu::make_executor(build_inference_step(graph, {}), options);
    const auto commands = executor->commands();
    EXPECT_EQ(std::count_if(commands.begin(), commands.end(),
                            [](const cpu::CommandReport& command) { return command.operation == "relu"; }),
              1);
}

TEST(CpuOperations, GatesAndArithmeticStayInTheNetworksLayout) {
    Net net({8, 3, 5, 4});
    ValueId map = net.conv("front", net.images, 16, 1);
    const ValueId gate =
        net.add(Unary{UnaryKind::hard_sigmoid, 0.2, 0.5}, {net.add(GlobalAveragePool{}, {map})});
    map = net.add(Multiply{}, {map, gate});
    map = net.add(Multiply{}, {map, net.parameter("scale", {16, 1, 1})});
    map = net.add(Concat{1}, {map, net.add(Unary{UnaryKind::silu}, {map})});
    map = net.add(Reshape{{8, 2, 16, 5, 4}}, {map});
    map = net.add(Reshape{{8, 32, 5, 4}}, {net.add(Transpose{{0, 2, 1, 3, 4}}, {map})});
    map = net.add(Slice{1, 0, 16, 1}, {map});
    map = net.add(Pad{{0, 0, 1, 1}, {0, 0, 0, 0}}, {map});
    map = net.conv("behind", map, 8, 1);
    const ValueId logits = net.linear("head", net.flatten(net.add(GlobalAveragePool{}, {map})), 4);
    net.graph.outputs = {logits};
    cpu::Options options;
    options.layout = MapLayout::images;
    const auto executor = cpu::make_executor(build_training_step(net.graph, {}, {}), options);
    EXPECT_LE(executor->memory().conversions, 1);  // the images
}

}  // namespace
}  // namespace enmesh::test
