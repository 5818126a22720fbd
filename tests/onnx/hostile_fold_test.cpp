#include <gtest/gtest.h>

#include <limits>

#include "enmesh/graph/graph.hpp"
#include "onnx/import/constant.hpp"
#include "onnx/refusal.hpp"

// Shape arithmetic whose operands have other types, counts and extents than the operators ask for.

namespace enmesh {
namespace {

using testing::Folder;
using testing::ModelMaker;
using testing::small_network;

constexpr int f32 = 1, i64 = 7;
constexpr int64_t least = std::numeric_limits<int64_t>::min(), most = std::numeric_limits<int64_t>::max();
constexpr double infinity = std::numeric_limits<double>::infinity();

void scalar(ModelMaker& maker, const std::string& name, int type, double value) {
    if (type == f32) {
        maker.raw<float>(name, {}, f32, {static_cast<float>(value)});
    } else {
        maker.raw<int64_t>(name, {}, i64, {static_cast<int64_t>(value)});
    }
}

/// scores + the result "known", as float32.
void add_to_scores(ModelMaker& maker) {
    ModelMaker::set(maker.node("Cast", {"known"}, {"real"}), "to", int64_t{f32});
    maker.node("Add", {"scores", "real"}, {"sum"});
    maker.graph().mutable_output(0)->set_name("sum");
}

struct Number {
    int type;
    double value;
};
ModelMaker ranged(Number start, Number limit, Number delta) {
    ModelMaker maker = small_network();
    scalar(maker, "start", start.type, start.value);
    scalar(maker, "limit", limit.type, limit.value);
    scalar(maker, "delta", delta.type, delta.value);
    maker.node("Range", {"start", "limit", "delta"}, {"known"});
    add_to_scores(maker);
    return maker;
}
ModelMaker ranged(int64_t start, int64_t limit, int64_t delta) {
    ModelMaker maker = small_network();
    maker.raw<int64_t>("start", {}, i64, {start});
    maker.raw<int64_t>("limit", {}, i64, {limit});
    maker.raw<int64_t>("delta", {}, i64, {delta});
    maker.node("Range", {"start", "limit", "delta"}, {"known"});
    add_to_scores(maker);
    return maker;
}

/// What shape arithmetic made of it: the elements of the graph's only constant.
std::vector<float> known_elements(const ModelMaker& maker) {
    const Folder folder;
    const onnx::Model model = onnx::import(folder.put("m.onnx", maker.text()));
    std::vector<float> elements;
    for (const Value& value : model.graph.values()) {
        if (value.role != Role::constant) continue;
        const std::span<const float> found = value.initializer.given->f32();
        elements.insert(elements.end(), found.begin(), found.end());
    }
    return elements;
}

TEST(hostile_fold, a_range_of_mixed_types) {
    EXPECT_REFUSED(ranged({i64, 0}, {i64, 4}, {f32, 1}), "inputs of int64 and float32 do not mix");
    EXPECT_REFUSED(ranged({i64, 0}, {f32, 4}, {i64, 1}), "inputs of int64 and float32 do not mix");
    EXPECT_REFUSED(ranged({f32, 0}, {i64, 4}, {i64, 1}), "inputs of float32 and int64 do not mix");
    EXPECT_REFUSED(ranged({f32, 0}, {f32, 4}, {i64, 1}), "inputs of float32 and int64 do not mix");
    EXPECT_EQ(known_elements(ranged({f32, 0}, {f32, 2}, {f32, 0.5})), (std::vector<float>{0, 0.5, 1, 1.5}));
}

TEST(hostile_fold, ranges_with_and_without_an_end) {
    EXPECT_EQ(known_elements(ranged(7, 0, -2)), (std::vector<float>{7, 5, 3, 1}));
    EXPECT_EQ(known_elements(ranged(1, 5, 1)), (std::vector<float>{1, 2, 3, 4}));
    // The distance is 2^64 - 1, which float64 and int64 do not hold.
    EXPECT_EQ(known_elements(ranged(least, most, int64_t{1} << 62)).size(), 4U);
    EXPECT_EQ(known_elements(ranged(most, least, -(int64_t{1} << 62))).size(), 4U);
    // 2^53 + 1 is no float64.
    EXPECT_EQ(known_elements(ranged((int64_t{1} << 53), (int64_t{1} << 53) + 1, 1)).size(), 1U);
    EXPECT_EQ(known_elements(ranged(5, 4, least)), std::vector<float>{5});
    EXPECT_REFUSED(ranged(3, 5, least), "has no elements");
    for (const auto& [limit, delta] :
         {std::pair{most, int64_t{1}}, {int64_t{9}, int64_t{0}}, {least, int64_t{-1}}})
        EXPECT_REFUSED(ranged(0, limit, delta), "endless range");
    EXPECT_REFUSED(ranged(0, int64_t{1} << 29, 1), "larger than shape arithmetic should be");
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double odd : {nan, infinity, -infinity}) {
        EXPECT_REFUSED(ranged({f32, odd}, {f32, 4}, {f32, 1}), "endless range");
        EXPECT_REFUSED(ranged({f32, 0}, {f32, odd}, {f32, 1}), "endless range");
        EXPECT_REFUSED(ranged({f32, 0}, {f32, 4}, {f32, odd}), "endless range");
    }
    for (const double small : {0.0, -0.0, 1e-40})
        EXPECT_REFUSED(ranged({f32, 0}, {f32, 4}, {f32, small}), "endless range");
}

TEST(hostile_fold, operands_of_other_types_and_counts) {
    const auto folded = [](const std::string& type, const std::vector<std::string>& inputs) {
        ModelMaker maker = small_network();
        // An initialiser of float numbers would be trained, not folded.
        ::onnx::AttributeProto& reals = *maker.node("Constant", {}, {"reals"}).add_attribute();
        reals.set_name("value_floats");
        reals.set_type(::onnx::AttributeProto_AttributeType_FLOATS);
        for (const float value : {1.0F, 2.0F, 3.0F, 4.0F}) reals.add_floats(value);
        maker.integers("integers", {0, 1, 2, 3});
        maker.node(type, inputs, {"known"});
        add_to_scores(maker);
        return maker;
    };
    for (const char* type : {"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "And", "Concat"})
        EXPECT_REFUSED(folded(type, {"integers", "reals"}), "inputs of int64 and float32 do not mix") << type;
    EXPECT_REFUSED(folded("Where", {"integers", "integers", "reals"}), "do not mix");
    EXPECT_REFUSED(folded("Where", {"reals", "integers", "integers"}), "needs a boolean condition");
    EXPECT_REFUSED(folded("Gather", {"integers", "reals"}), "integer indices");
    EXPECT_REFUSED(folded("ReduceProd", {"reals"}), "lists of integers only");
    EXPECT_REFUSED(folded("Not", {"reals"}), "is defined for booleans only");
    for (const char* type : {"Reshape", "Expand", "Unsqueeze", "Squeeze", "Split"})
        EXPECT_REFUSED(folded(type, {"integers", "reals"}), "are no list of integers") << type;
    EXPECT_REFUSED(folded("Slice", {"integers", "reals", "reals"}), "are no list of integers");
    EXPECT_REFUSED(folded("ConstantOfShape", {"reals"}), "are no list of integers");
    EXPECT_REFUSED(folded("Max", {"integers", "integers", "integers"}), "3 inputs, at most 2");
    EXPECT_REFUSED(folded("Shape", {"scores", "integers"}), "2 inputs, at most 1");
    EXPECT_REFUSED(folded("Range", {"integers", "integers", "integers"}), "input 0 is no scalar");
    EXPECT_REFUSED(folded("Concat", {"integers", "", "integers"}), "input 1 is missing");
    for (const char* type : {"Add", "Gather", "CastLike", "Where", "Range"})
        EXPECT_REFUSED(folded(type, {"integers"}), "is missing") << type;
}

TEST(hostile_fold, elements_are_read_as_what_they_are) {
    const onnx::Constant integers = onnx::integer_constant(Shape{2}, {5, 6});
    const onnx::Constant reals = onnx::real_constant(Shape{2}, {0.5F, 1.5F});
    EXPECT_EQ(integers.integer(1), 6);
    EXPECT_EQ(integers.number(1), 6);
    EXPECT_EQ(reals.number(1), 1.5);
    for (const int64_t outside : {int64_t{2}, int64_t{-1}, least, most}) {
        EXPECT_THROW((void)integers.integer(outside), Error);
        EXPECT_THROW((void)integers.number(outside), Error);
        EXPECT_THROW((void)reals.number(outside), Error);
    }
    EXPECT_THROW((void)integers.reals(), Error);
    EXPECT_THROW((void)integers.real_number(0), Error);
    EXPECT_THROW((void)reals.integers(), Error);
    EXPECT_THROW((void)reals.integer(0), Error);
    EXPECT_THROW((void)onnx::Constant().number(0), Error);
    EXPECT_THROW((void)integers.with_shape(Shape{3}), Error);
    // Copies and other shapes share the elements: a thousand Identity nodes cost no memory.
    const onnx::Constant copy = integers, other = integers.with_shape(Shape{2, 1});
    EXPECT_EQ(copy.integers().data(), integers.integers().data());
    EXPECT_EQ(other.integers().data(), integers.integers().data());
}

/// An initialiser without elements, whose other extents are `dims`.
ModelMaker emptied(const std::string& type, const std::vector<int64_t>& dims,
                   const std::vector<std::string>& more, int64_t axis) {
    ModelMaker maker = small_network();
    maker.raw<int64_t>("none", dims, i64, {});
    maker.integers("zero", {0});
    maker.integers("one", {1});
    std::vector<std::string> inputs{"none"};
    inputs.insert(inputs.end(), more.begin(), more.end());
    ::onnx::NodeProto& node = maker.node(type, inputs, {"made"});
    if (axis >= 0) ModelMaker::set(node, "axis", axis);
    maker.node("Size", {"made"}, {"known"});
    add_to_scores(maker);
    return maker;
}

TEST(hostile_fold, empty_values_with_huge_extents) {
    constexpr int64_t huge = int64_t{1} << 39;
    const char* const words = "larger than shape arithmetic should be";
    EXPECT_REFUSED(emptied("Gather", {huge, 1, 0}, {"zero"}, 1), words);
    EXPECT_REFUSED(emptied("Concat", {huge, 0}, {"none"}, 1), words);
    EXPECT_REFUSED(emptied("Slice", {huge, 0}, {"zero", "one", "one"}, -1), words);
    EXPECT_REFUSED(emptied("Transpose", {huge, 0}, {}, -1), words);
    EXPECT_REFUSED(emptied("Gather", {huge, huge, 0}, {"zero"}, 1), "is too large");
    EXPECT_REFUSED(emptied("Flatten", {0, huge, huge}, {}, 1), "is too large");
    EXPECT_EQ(known_elements(emptied("Gather", {4, 1, 0}, {"zero"}, 1)), std::vector<float>{0});
    EXPECT_EQ(known_elements(emptied("Concat", {0, 4}, {"none"}, 0)), std::vector<float>{0});
}

TEST(hostile_fold, what_a_small_file_may_make) {
    const char* const words = "are more than a file of this size should make";
    ModelMaker zeros;
    zeros.input("pixels", {1, 1, 1, 1});
    zeros.integers("huge", {1 << 19, 1 << 20});
    zeros.node("Expand", {"pixels", "huge"}, {"wide"});
    zeros.node("LayerNormalization", {"pixels", "wide"}, {"scores"});
    zeros.output("scores");
    EXPECT_REFUSED(zeros, words);

    ModelMaker norms;
    const int64_t channels = 1 << 16;
    norms.input("pixels", {2, channels, 1, 1});
    norms.weights("shared", {channels});
    std::string last = "pixels";
    for (int i = 0; i < 150; ++i) {
        const std::string next = "norm" + std::to_string(i);
        norms.node("BatchNormalization", {last, "shared", "shared", "shared", "shared"}, {next});
        last = next;
    }
    norms.output(last);
    EXPECT_REFUSED(norms, words);

    ModelMaker parts;
    parts.input("pixels", {1, 1024, 1, 1});
    parts.raw<int64_t>("one", {}, i64, {1});
    parts.raw<int64_t>("at", {}, i64, {0});
    last = "pixels";
    for (int i = 0; i < 100; ++i) {
        const std::string sequence = "s" + std::to_string(i), next = "v" + std::to_string(i);
        ModelMaker::set(parts.node("SplitToSequence", {"pixels", "one"}, {sequence}), "axis", int64_t{1});
        parts.node("SequenceAt", {sequence, "at"}, {next});
        if (i > 0) parts.node("Add", {last, next}, {last + "+"});
        last = i > 0 ? last + "+" : next;
    }
    parts.output(last);
    EXPECT_REFUSED(parts, words);

    ModelMaker split = small_network();
    ::onnx::NodeProto& node = split.node("Split", {"pixels"}, {"part"});
    ModelMaker::set(node, "axis", int64_t{2});
    ModelMaker::set(node, "num_outputs", int64_t{8});
    split.graph().mutable_output(0)->set_name("part");
    EXPECT_REFUSED(split, "8 parts for 1 outputs");
    ModelMaker sizes = small_network();
    sizes.integers("sizes", {1, 2});
    sizes.node("Split", {"pixels", "sizes"}, {"part"});
    sizes.graph().mutable_output(0)->set_name("part");
    EXPECT_REFUSED(sizes, "2 sizes for 1 outputs");
}

TEST(hostile_fold, shapes_of_many_axes) {
    const std::vector<int64_t> ones(1000, 1);
    const auto of_maps = [&](const std::string& type) {
        ModelMaker maker = small_network();
        maker.integers("list", ones);
        maker.node(type, {"scores", "list"}, {"made"});
        maker.graph().mutable_output(0)->set_name("made");
        return maker;
    };
    EXPECT_REFUSED(of_maps("Expand"), "a shape of 1000 axes");
    EXPECT_REFUSED(of_maps("Reshape"), "a shape of 1000 axes");
    ModelMaker filled = small_network();
    filled.integers("list", ones);
    filled.node("ConstantOfShape", {"list"}, {"known"});
    add_to_scores(filled);
    EXPECT_REFUSED(filled, "a shape of 1000 axes");
    ModelMaker grown = small_network();
    grown.integers("axes", {0, 1, 2, 3, 4, 5, 6, 7});
    grown.node("Unsqueeze", {"scores", "axes"}, {"made"});
    grown.node("Unsqueeze", {"made", "axes"}, {"more"});
    grown.graph().mutable_output(0)->set_name("more");
    EXPECT_REFUSED(grown, "8 more axes for rank 10");
    ModelMaker padded = small_network();
    padded.integers("pads", {1, 1, 1, 1});
    padded.integers("axes", {2, -2});
    padded.node("Pad", {"pixels", "pads", "", "axes"}, {"made"});
    padded.graph().mutable_output(0)->set_name("made");
    EXPECT_REFUSED(padded, "an axis is named twice");
}

TEST(hostile_fold, a_long_chain_of_rearrangements) {
    const auto chained = [](int length) {
        ModelMaker maker = small_network();
        maker.weights("moved", {1, 4});
        std::string last = "moved";
        for (int i = 0; i < length; ++i) {
            const std::string next = "moved" + std::to_string(i);
            maker.node("Transpose", {last}, {next});
            last = next;
        }
        maker.node("Add", {"scores", last}, {"sum"});
        maker.graph().mutable_output(0)->set_name("sum");
        return maker;
    };
    EXPECT_EQ(testing::refusal(chained(64).text()), "");
    EXPECT_REFUSED(chained(66), "rearranged more than 64 times");
}

}  // namespace
}  // namespace enmesh
