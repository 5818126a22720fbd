#include "enmesh/base/error.hpp"
#include "step/net.hpp"

namespace enmesh::test {
namespace {

ValueType f32(Shape shape) { return {std::move(shape), DType::f32, {}}; }

Shape shape_of(const Operation& operation, std::vector<ValueType> inputs) {
    return infer(operation, inputs)[0].shape;
}

/// The refusal of adding the operation as layer "here", or "" if it is accepted.
std::string refusal(const Operation& operation, const std::vector<ValueType>& inputs) {
    Graph graph;
    std::vector<ValueId> ids;
    for (const ValueType& type : inputs)
        ids.push_back(graph.add_input("i" + std::to_string(ids.size()), type));
    try {
        graph.add(operation, ids, "here");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::request);
        return error.what();
    }
    return "";
}

TEST(Shapes, OfProducts) {
    const ValueType image = f32({2, 6, 9, 8});
    EXPECT_EQ(shape_of(Conv2d{.padding = {1, 1, 1, 1}}, {image, f32({4, 6, 3, 3})}), (Shape{2, 4, 9, 8}));
    EXPECT_EQ(shape_of(Conv2d{.stride = {2, 3}, .padding = {0, 1, 2, 0}}, {image, f32({4, 6, 3, 2})}),
              (Shape{2, 4, 5, 3}));
    EXPECT_EQ(shape_of(Conv2d{.dilation = {3, 2}, .groups = 3}, {image, f32({9, 2, 3, 3})}),
              (Shape{2, 9, 3, 4}));
    EXPECT_EQ(shape_of(Linear{}, {f32({2, 3, 5}), f32({7, 5}), f32({7})}), (Shape{2, 3, 7}));
    EXPECT_EQ(shape_of(MatMul{true, true}, {f32({2, 3, 4}), f32({2, 5, 3})}), (Shape{2, 4, 5}));
}

TEST(Shapes, OfPools) {
    const ValueType image = f32({1, 2, 7, 6});
    EXPECT_EQ(shape_of(MaxPool2d{}, {image}), (Shape{1, 2, 3, 3}));
    EXPECT_EQ(shape_of(MaxPool2d{{.ceil = true}}, {image}), (Shape{1, 2, 4, 3}));
    // A last window that would start in the trailing padding does not count (as in PyTorch).
    const PoolWindow hanging{.kernel = {2, 2}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .ceil = true};
    EXPECT_EQ(pooled_shape(hanging, {1, 1, 4, 5}), (Shape{1, 1, 3, 3}));
    EXPECT_EQ(shape_of(GlobalAveragePool{}, {image}), (Shape{1, 2, 1, 1}));
}

TEST(Shapes, OfTheRest) {
    EXPECT_EQ(broadcast_shape({3, 1, 5}, {4, 1}), (Shape{3, 4, 5}));
    EXPECT_EQ(shape_of(Transpose{{2, 0, 1}}, {f32({2, 3, 4})}), (Shape{4, 2, 3}));
    EXPECT_EQ(shape_of(Slice{1, 1, 8, 3}, {f32({2, 9})}), (Shape{2, 3}));
    EXPECT_EQ(shape_of(Concat{1}, {f32({2, 3}), f32({2, 4})}), (Shape{2, 7}));
    EXPECT_EQ(shape_of(SumExcept{-1}, {f32({2, 3, 4})}), (Shape{4}));
    EXPECT_EQ(shape_of(Embedding{}, {{{2, 3}, DType::i32, {}}, f32({9, 5})}), (Shape{2, 3, 5}));
    EXPECT_EQ(shape_of(Reduce{{1, 3}}, {f32({2, 3, 4, 5})}), (Shape{2, 1, 4, 1}));
    EXPECT_EQ(shape_of(Reduce{{0, 1}, true, false}, {f32({2, 3, 4})}), (Shape{4}));
    EXPECT_EQ(shape_of(Expand{{5, 2, 3}}, {f32({2, 1})}), (Shape{5, 2, 3}));
    EXPECT_EQ(shape_of(Pad{{0, 1}, {2, 3}}, {f32({4, 5})}), (Shape{6, 9}));
    EXPECT_EQ(shape_of(Divide{}, {f32({4, 1}), f32({3})}), (Shape{4, 3}));
    EXPECT_EQ(shape_of(Reshape{{6, 2}}, {f32({3, 4})}), (Shape{6, 2}));
}

struct Refused {
    Operation operation;
    std::vector<ValueType> inputs;
    std::string says;
};

TEST(Shapes, RefusalsNameLayerOperationAndReason) {
    const ValueType image = f32({2, 4, 5, 5}), labels{{2}, DType::i32, {}};
    const std::vector<Refused> cases = {
        {Conv2d{}, {image, f32({8, 3, 3, 3})}, "src has 4 channels, weights 3 times groups 1"},
        {Conv2d{.groups = 2}, {image, f32({3, 2, 1, 1})}, "3 output channels do not divide into 2 groups"},
        {Conv2d{.dilation = {3, 1}}, {image, f32({8, 4, 3, 3})}, "does not fit the padded extent 5"},
        {Conv2d{.stride = {0, 1}}, {image, f32({8, 4, 3, 3})}, "stride 0 is out of range"},
        {Conv2d{.padding = {0, -1, 0, 0}}, {image, f32({8, 4, 3, 3})}, "padding -1"},
        {Conv2d{}, {image, f32({8, 4, 3, 3}), f32({7})}, "bias has shape 7, 8 expected"},
        {Conv2d{}, {image}, "1 inputs given"},
        {Linear{}, {f32({2, 5}), f32({3, 4})}, "src has 5 features, weights expect 4"},
        {MatMul{}, {f32({2, 3}), f32({2, 3})}, "differ in the reduction"},
        {MatMul{}, {f32({2, 3, 3}), f32({4, 3, 3})}, "differ in batch"},
        {BatchNorm{}, {f32({1, 3}), f32({3}), f32({3}), f32({3}), f32({3})}, "more than one value"},
        {BatchNorm{}, {image, f32({3}), f32({4}), f32({4}), f32({4})}, "gamma has shape 3, 4 expected"},
        {LayerNorm{}, {f32({2, 3}), f32({2}), f32({3})}, "gamma has shape 2, 3 expected"},
        {Add{}, {f32({2, 3}), f32({2, 4})}, "do not broadcast"},
        {MaxPool2d{{.kernel = {6, 2}}}, {image}, "does not fit"},
        {MaxPool2d{{.padding = {2, 0, 0, 0}}}, {image}, "padding must be below its kernel"},
        {AveragePool2d{{.stride = {0, 1}}}, {image}, "at least 1"},
        {Reshape{{3, 5}}, {f32({2, 7})}, "does not hold the elements"},
        {Transpose{{0, 0}}, {f32({2, 7})}, "not a permutation"},
        {Slice{1, 3, 8, 1}, {f32({2, 7})}, "not a slice of extent 7"},
        {Slice{2, 0, 1, 1}, {f32({2, 7})}, "axis 2"},
        {Concat{1}, {f32({2, 7}), f32({3, 7})}, "differ outside axis 1"},
        {Unary{}, {image}, "no kind"},
        {Unary{UnaryKind::clip, 1, 0}, {image}, "clip from 1 to 0 is empty"},
        {Subtract{}, {f32({2, 3}), f32({2, 4})}, "do not broadcast"},
        {Divide{}, {f32({2, 3}), f32({3, 3})}, "do not broadcast"},
        {Reduce{{1, 4}}, {image}, "axis 4"},
        {Reduce{{2, 1}}, {image}, "do not ascend"},
        {Expand{{2, 3}}, {f32({2, 2})}, "2x2 and 2x3 do not broadcast"},
        {Expand{{3}}, {f32({2, 3})}, "2x3 does not broadcast to 3"},
        {Pad{{1}, {1}}, {image}, "borders are given"},
        {Pad{{-1}, {0}}, {f32({4})}, "a border of -1"},
        {Embedding{}, {f32({2}), f32({3, 4})}, "indices are f32"},
        {Dropout{1.0}, {image}, "probability 1"},
        {CrossEntropy{}, {f32({2, 3}), f32({2})}, "labels are f32"},
        {CrossEntropy{1.0}, {f32({2, 3}), labels}, "label smoothing 1"},
        {PackNm{{4, 2}}, {image}, "4:2"},
        {PackNm{{1, 32}}, {image}, "1:32"},
        {PackNm{{2, 4}, GroupAxis::input_channels, Selection::mask}, {image}, "a mask is needed"},
        {UnpackNm{}, {image}, "src is dense"},
        {SumExcept{4}, {image}, "axis 4"},
    };
    for (const Refused& one : cases) {
        const std::string message = refusal(one.operation, one.inputs);
        const std::string head = "layer 'here' (" + std::string(name(one.operation)) + "): ";
        EXPECT_EQ(message.substr(0, head.size()), head) << to_string(one.operation);
        EXPECT_NE(message.find(one.says), std::string::npos) << message << "\n  wanted: " << one.says;
    }
}

TEST(Operations, PrintHashAndCompareByTheirFields) {
    const Operation plain = Conv2d{}, strided = Conv2d{.stride = {2, 2}}, same = Conv2d{.stride = {2, 2}};
    EXPECT_EQ(to_string(plain), "conv2d");
    EXPECT_EQ(to_string(strided), "conv2d stride=2,2");
    EXPECT_EQ(strided, same);
    EXPECT_EQ(hash(strided), hash(same));
    EXPECT_NE(strided, plain);
    EXPECT_NE(hash(strided), hash(plain));
    EXPECT_EQ(to_string(Operation(Unary{UnaryKind::clip, 0, 6})), "unary kind=clip b=6");
    EXPECT_EQ(to_string(Operation(PackNm{{2, 8}, GroupAxis::output_channels})),
              "pack_nm pattern=2:8 axis=output_channels");
}

TEST(Graphs, RefuseTwoValuesOfOneName) {
    Graph graph;
    graph.add_input("images", f32({1}));
    EXPECT_THROW(graph.add_input("images", f32({1})), Error);
}

TEST(Graphs, InferenceDropsDropoutAndUsesRunningStatistics) {
    Net net({2, 3});
    const ValueId dropped = net.add(Dropout{0.5}, {net.images});
    net.graph.outputs = {net.add(BatchNorm{}, {dropped, net.parameter("g", {3}), net.parameter("b", {3}),
                                               net.state("m", {3}, 0), net.state("v", {3}, 1)})};
    const Graph inference = inference_graph(net.graph);
    ASSERT_EQ(inference.nodes().size(), 1U);
    EXPECT_EQ(to_string(inference.node(0).operation), "batch_norm training=false");
    EXPECT_EQ(inference.node(0).inputs[0], inference.find("images"));
}

TEST(Graphs, PrintAndDrawReadably) {
    Net net({2, 3, 4, 4});
    net.graph.outputs = {net.flatten(net.conv("stem", net.images, 5, 3, {.padding = {1, 1, 1, 1}}))};
    EXPECT_EQ(print(net.graph),
              "FF  stem      conv2d    images, stem.weight -> %2: f32 2x5x4x4  [padding=1,1,1,1]\n"
              "FF  reshape1  reshape   %2 -> %3: f32 2x80  [shape=2x80]\n");
    const std::string drawing = dot(net.graph);
    EXPECT_EQ(drawing.substr(0, 14), "digraph step {");
    EXPECT_NE(drawing.find("stem\\nFF conv2d padding=1,1,1,1"), std::string::npos) << drawing;
    EXPECT_NE(drawing.find("n0 -> n1 [label=\"f32 2x5x4x4\"]"), std::string::npos) << drawing;
    EXPECT_NE(drawing.find("images\\nf32 2x3x4x4"), std::string::npos) << drawing;
}

}  // namespace
}  // namespace enmesh::test
