#include "fuzz/seed_graphs.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <variant>

#include "enmesh/base/error.hpp"
#include "enmesh/onnx/import.hpp"
#include "fuzz/known_operators.hpp"
#include "onnx/model_maker.hpp"

namespace enmesh::testing {
namespace {

constexpr int64_t opset = 18;

/// An input that is known: int64 or float32 elements of this shape. Without elements: see `maps` and `rows`.
struct Operand {
    std::vector<int64_t> dims;
    std::vector<int64_t> integers;
    std::vector<float> reals;
    std::string name;  ///< of another value of the graph
};
const Operand maps{{}, {}, {}, "pixels"};  // 2 x 2 x 4 x 4
const Operand rows{{}, {}, {}, "rows"};    // 2 x 32
const Operand absent{{}, {}, {}, ""};
const Operand scales{{4}, {}, {1, 1, 2, 1.5F}, ""};

Operand list(std::vector<int64_t> values) {
    return {{static_cast<int64_t>(values.size())}, std::move(values), {}, {}};
}
Operand whole(int64_t value) { return {{}, {value}, {}, {}}; }
Operand real(float value) { return {{}, {}, {value}, {}}; }
Operand reals(const std::vector<int64_t>& dims) {
    int64_t count = 1;
    for (const int64_t dim : dims) count *= dim;
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(0.25F * static_cast<float>(i % 7 + 1));
    return {dims, {}, std::move(values), {}};
}

using AttributeValue = std::variant<int64_t, double, std::string, std::vector<int64_t>>;
struct Row {
    const char* op_type;
    std::vector<Operand> inputs;
    std::vector<std::pair<const char*, AttributeValue>> attributes{};
    int outputs = 1;
};

using List = std::vector<int64_t>;

const std::vector<Row>& rows_on_maps() {
    static const std::vector<Row> table = {
        {"Conv",
         {maps, reals({4, 1, 3, 3}), reals({4})},
         {{"group", int64_t{2}},
          {"kernel_shape", List{3, 3}},
          {"pads", List{1, 1, 1, 1}},
          {"strides", List{2, 1}}}},
        {"Conv", {maps, reals({2, 2, 2, 2})}, {{"auto_pad", "SAME_LOWER"}, {"dilations", List{2, 2}}}},
        {"Conv", {{{}, {}, {}, "rows_as_lines"}, reals({4, 2, 3})}, {{"pads", List{1, 0}}}},
        {"ConvTranspose",
         {maps, reals({2, 2, 3, 3}), reals({4})},
         {{"group", int64_t{2}},
          {"strides", List{2, 1}},
          {"pads", List{1, 0, 1, 1}},
          {"output_padding", List{1, 0}}}},
        {"ConvTranspose",
         {maps, reals({2, 1, 2, 3})},
         {{"output_shape", List{7, 6}}, {"auto_pad", "SAME_UPPER"}, {"strides", List{2, 2}}}},
        {"InstanceNormalization", {maps, reals({2}), reals({2})}, {{"epsilon", 1e-3}}},
        {"GroupNormalization", {maps, reals({2}), reals({2})}, {{"num_groups", int64_t{2}}}},
        {"LRN", {maps}, {{"size", int64_t{3}}, {"alpha", 0.1}, {"beta", 0.5}, {"bias", 2.0}}},
        {"Resize", {maps, absent, scales}, {{"mode", "linear"}}},
        {"Resize",
         {maps, absent, absent, list({3, 7})},
         {{"axes", List{2, 3}},
          {"nearest_mode", "ceil"},
          {"coordinate_transformation_mode", "align_corners"},
          {"antialias", int64_t{0}}}},
        {"Upsample", {maps, scales}, {{"mode", "nearest"}}},
        {"LogSoftmax", {maps}, {{"axis", int64_t{1}}}},
        {"PRelu", {maps, reals({2, 1, 1})}},
        {"Elu", {maps}, {{"alpha", 0.5}}},
        {"Softplus", {maps}},
        {"Mish", {maps}},
        {"Sum", {maps, maps, reals({2, 1, 1})}},
        {"ReduceMax", {maps, list({1, 3})}, {{"keepdims", int64_t{0}}}},
        {"Gemm", {rows, reals({3, 32}), reals({3})}, {{"transB", int64_t{1}}, {"alpha", 0.5}, {"beta", 2.0}}},
        {"Gemm", {rows, rows}, {{"transA", int64_t{1}}}},
        {"MatMul", {rows, reals({32, 3})}},
        {"MatMul", {maps, reals({2, 4, 4})}},
        {"BatchNormalization",
         {maps, reals({2}), reals({2}), reals({2}), reals({2})},
         {{"epsilon", 1e-3}, {"momentum", 0.8}}},
        {"LayerNormalization", {maps, reals({4}), reals({4})}, {{"epsilon", 1e-3}}},
        {"LayerNormalization", {maps, reals({4, 4})}, {{"axis", int64_t{2}}}},
        {"Relu", {maps}},
        {"Gelu", {maps}, {{"approximate", "tanh"}}},
        {"Sigmoid", {maps}},
        {"HardSigmoid", {maps}, {{"alpha", 0.25}, {"beta", 0.5}}},
        {"HardSwish", {maps}},
        {"Swish", {maps}, {{"alpha", 1.0}}},
        {"Tanh", {maps}},
        {"Erf", {maps}},
        {"Exp", {maps}},
        {"Log", {maps}},
        {"Sqrt", {maps}},
        {"LeakyRelu", {maps}, {{"alpha", 0.1}}},
        {"Clip", {maps, real(0), real(6)}},
        {"Min", {maps, real(1)}},
        {"Max", {real(0), maps}},
        {"Add", {maps, reals({2, 1, 1})}},
        {"Sub", {maps, real(1)}},
        {"Mul", {maps, reals({1, 4})}},
        {"Div", {maps, real(3)}},
        {"Pow", {maps, real(2)}},
        {"Neg", {maps}},
        {"Reciprocal", {maps}},
        {"MaxPool",
         {maps},
         {{"kernel_shape", List{2, 2}},
          {"strides", List{2, 2}},
          {"pads", List{0, 1, 0, 1}},
          {"ceil_mode", int64_t{1}}}},
        {"AveragePool",
         {maps},
         {{"kernel_shape", List{3, 3}}, {"auto_pad", "SAME_UPPER"}, {"count_include_pad", int64_t{1}}}},
        {"GlobalAveragePool", {maps}},
        {"GlobalMaxPool", {maps}},
        {"ReduceMean", {maps, list({2, 3})}, {{"keepdims", int64_t{0}}}},
        {"ReduceSum", {maps, list({-1})}, {{"noop_with_empty_axes", int64_t{1}}}},
        {"Softmax", {maps}, {{"axis", int64_t{1}}}},
        {"Dropout", {maps, real(0.5F), whole(0)}},
        {"Identity", {maps}},
        {"Cast", {maps}, {{"to", int64_t{1}}}},
        {"CastLike", {maps, real(1)}},
        {"Flatten", {maps}, {{"axis", int64_t{2}}}},
        {"Reshape", {maps, list({0, -1, 8})}, {{"allowzero", int64_t{0}}}},
        {"Squeeze", {reals({1, 2, 1}), list({0})}},
        {"Unsqueeze", {maps, list({1, -1})}},
        {"Transpose", {maps}, {{"perm", List{0, 2, 3, 1}}}},
        {"Concat", {maps, maps}, {{"axis", int64_t{1}}}},
        {"Slice", {maps, list({1, 0}), list({4, 3}), list({2, 3}), list({1, 2})}},
        {"Split", {maps, list({1, 3})}, {{"axis", int64_t{3}}}, 2},
        {"Split", {maps}, {{"axis", int64_t{3}}, {"num_outputs", int64_t{2}}}, 2},
        {"SplitToSequence", {maps, whole(2)}, {{"axis", int64_t{3}}}},
        {"SplitToSequence", {maps, list({1, 3})}, {{"axis", int64_t{3}}}},
        {"SequenceAt", {{{}, {}, {}, "parts"}, whole(-1)}},
        {"Gather", {maps, list({0, 1, 3})}, {{"axis", int64_t{2}}}},
        {"Expand", {maps, list({3, 1, 1, 1, 1})}},
        {"Tile", {reals({1, 2, 4, 4}), list({2, 1, 1, 1})}},
        {"Pad", {maps, list({1, -1, 0, 2}), real(0), list({2, 3})}, {{"mode", "constant"}}},
        {"Where", {whole(1), maps, reals({4})}},
    };
    return table;
}

const std::vector<Row>& rows_on_known_values() {
    static const std::vector<Row> table = {
        {"Constant", {}, {{"value_int", int64_t{3}}}},
        {"Constant", {}, {{"value_ints", List{3, 4}}}},
        {"Constant", {}, {{"value_float", 0.5}}},
        {"ConstantOfShape", {list({2, 3})}},
        {"Range", {whole(1), whole(9), whole(3)}},
        {"Range", {real(1), real(-1), real(-0.5F)}},
        {"Shape", {maps}, {{"start", int64_t{1}}, {"end", int64_t{-1}}}},
        {"Size", {reals({2, 3})}},
        {"Gather", {reals({2, 3}), list({1, -1})}, {{"axis", int64_t{1}}}},
        {"Slice", {list({1, 2, 3, 4}), list({-3}), list({9}), list({0}), list({2})}},
        {"Split", {list({1, 2, 3}), list({1, 2})}, {{"axis", int64_t{0}}}, 2},
        {"Split", {reals({4})}, {{"num_outputs", int64_t{2}}}, 2},
        {"Concat", {list({1, 2}), list({3})}, {{"axis", int64_t{0}}}},
        {"Concat", {reals({2, 1}), reals({2, 3})}, {{"axis", int64_t{1}}}},
        {"Squeeze", {reals({1, 2, 1}), list({0})}},
        {"Unsqueeze", {list({1, 2}), list({1})}},
        {"Reshape", {reals({2, 3}), list({0, 3, -1})}, {{"allowzero", int64_t{0}}}},
        {"Flatten", {reals({2, 3, 1})}, {{"axis", int64_t{-1}}}},
        {"Transpose", {reals({2, 3})}, {{"perm", List{1, 0}}}},
        {"Expand", {list({1, 2}), list({2, 1})}},
        {"Where", {list({0, 1}), list({3}), list({4, 5})}},
        {"Where", {list({0, 1}), real(3), reals({2})}},
        {"Identity", {list({1, 2})}},
        {"Cast", {reals({2})}, {{"to", int64_t{7}}}},
        {"CastLike", {list({1, 2}), real(1)}},
        {"ReduceProd", {list({2, 3}), list({0})}, {{"keepdims", int64_t{0}}}},
        {"ReduceSum", {list({2, 3}), list({0})}},
    };
    return table;
}

/// Operators that take whole numbers, and float numbers as well.
constexpr const char* of_two[] = {"Add",
                                  "Sub",
                                  "Mul",
                                  "Div",
                                  "Mod",
                                  "Pow",
                                  "Min",
                                  "Max",
                                  "Equal",
                                  "Less",
                                  "LessOrEqual",
                                  "Greater",
                                  "GreaterOrEqual",
                                  "And",
                                  "Or"};
constexpr const char* of_one_integer[] = {"Not", "Neg", "Abs", "Floor", "Ceil"};
constexpr const char* of_one_real[] = {"Neg", "Abs", "Floor", "Ceil", "Sqrt", "Exp", "Reciprocal"};

void set(::onnx::NodeProto& node, const char* name, const AttributeValue& value) {
    ::onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name(name);
    if (const auto* const integer = std::get_if<int64_t>(&value)) {
        attribute.set_type(::onnx::AttributeProto_AttributeType_INT);
        attribute.set_i(*integer);
    } else if (const auto* const number = std::get_if<double>(&value)) {
        attribute.set_type(::onnx::AttributeProto_AttributeType_FLOAT);
        attribute.set_f(static_cast<float>(*number));
    } else if (const auto* const text = std::get_if<std::string>(&value)) {
        attribute.set_type(::onnx::AttributeProto_AttributeType_STRING);
        attribute.set_s(*text);
    } else {
        attribute.set_type(::onnx::AttributeProto_AttributeType_INTS);
        for (const int64_t entry : std::get<List>(value)) attribute.add_ints(entry);
    }
}

void fill(::onnx::TensorProto& tensor, const Operand& operand) {
    for (const int64_t dim : operand.dims) tensor.add_dims(dim);
    tensor.set_data_type(operand.reals.empty() ? ::onnx::TensorProto_DataType_INT64
                                               : ::onnx::TensorProto_DataType_FLOAT);
    for (const int64_t value : operand.integers) tensor.add_int64_data(value);
    for (const float value : operand.reals) tensor.add_float_data(value);
}

/// The operand's name in the graph. Known values come from Constant nodes: an initialiser of float numbers
/// would be trained, not folded.
std::string add_operand(ModelMaker& maker, const Operand& operand, size_t i, bool known) {
    if (operand.integers.empty() && operand.reals.empty()) {
        if (operand.name == "rows") maker.node("Flatten", {"pixels"}, {"rows"});
        if (operand.name == "rows_as_lines") {
            maker.integers("lines", {2, 2, 16});
            maker.node("Reshape", {"pixels", "lines"}, {"rows_as_lines"});
        }
        if (operand.name == "parts") {
            maker.integers("sizes", {1, 3});
            set(maker.node("SplitToSequence", {"pixels", "sizes"}, {"parts"}), "axis", int64_t{3});
        }
        return operand.name;
    }
    const std::string name = "input" + std::to_string(i);
    if (!known) {
        ::onnx::TensorProto& tensor = *maker.graph().add_initializer();
        tensor.set_name(name);
        fill(tensor, operand);
        return name;
    }
    ::onnx::AttributeProto& attribute = *maker.node("Constant", {}, {name}).add_attribute();
    attribute.set_name("value");
    attribute.set_type(::onnx::AttributeProto_AttributeType_TENSOR);
    fill(*attribute.mutable_t(), operand);
    return name;
}

/// pixels -> operator -> scores; what is known, or made of initialisers alone, is counted and added to
/// pixels.
SeedGraph seed_of(const Row& row, bool known, size_t index) {
    ModelMaker maker(opset);
    maker.input("pixels", {2, 2, 4, 4});
    std::vector<std::string> inputs, outputs{"made"};
    bool of_maps = false;
    for (size_t i = 0; i < row.inputs.size(); ++i) {
        std::string name = add_operand(maker, row.inputs[i], i, known);
        // An operand that stands twice is made once.
        if (i > 0 && name == "rows" && inputs.back() == "rows") maker.graph().mutable_node()->RemoveLast();
        inputs.push_back(std::move(name));
        of_maps = of_maps || !row.inputs[i].name.empty();
    }
    for (int i = 1; i < row.outputs; ++i) outputs.push_back("other" + std::to_string(i));
    ::onnx::NodeProto& node = maker.node(row.op_type, inputs, outputs);
    for (const auto& [name, value] : row.attributes) set(node, name, value);
    std::string last = "made";
    if (row.op_type == std::string("SplitToSequence")) {
        maker.raw<int64_t>("position", {}, ::onnx::TensorProto_DataType_INT64, {0});
        maker.node("SequenceAt", {"made", "position"}, {last = "part"});
    }
    if (known) {
        maker.node("Size", {"made"}, {"count"});
        set(maker.node("Cast", {"count"}, {"number"}), "to", int64_t{1});
        maker.node("Add", {"pixels", "number"}, {last = "scores"});
    } else if (!of_maps) {
        maker.node("ReduceSum", {"made"}, {"total"});
        maker.node("Add", {"pixels", "total"}, {last = "scores"});
    }
    maker.output(last);
    return {std::string(known ? "known" : "maps") + "_" + row.op_type + "_" + std::to_string(index),
            row.op_type, known, std::move(maker.model)};
}

void require_seeds(const std::vector<SeedGraph>& seeds, const std::vector<std::string>& operators,
                   bool known) {
    for (const std::string& op_type : operators) {
        const auto found = std::find_if(seeds.begin(), seeds.end(), [&](const SeedGraph& seed) {
            return seed.op_type == op_type && seed.known == known;
        });
        if (found == seeds.end())
            throw std::runtime_error("operator " + op_type + (known ? " on known values" : " on maps") +
                                     " has no seed: give it a row in tests/fuzz/seed_graphs.cpp");
    }
}

}  // namespace

std::vector<SeedGraph> seed_graphs() {
    std::vector<SeedGraph> seeds;
    const auto add = [&](const Row& row, bool known) { seeds.push_back(seed_of(row, known, seeds.size())); };
    for (const Row& row : rows_on_maps()) add(row, false);
    for (const Row& row : rows_on_known_values()) add(row, true);
    for (const char* const op_type : of_two) {
        add({op_type, {list({1, 2, -3}), list({2})}}, true);
        add({op_type, {reals({2, 1}), reals({2})}}, true);
    }
    for (const char* const op_type : of_one_integer) add({op_type, {list({0, -1, 2})}}, true);
    for (const char* const op_type : of_one_real) add({op_type, {reals({3})}}, true);
    require_seeds(seeds, operators_on_maps(), false);
    require_seeds(seeds, operators_on_known_values(), true);
    return seeds;
}

void write_seed_graphs(const std::string& folder) {
    for (const SeedGraph& seed : seed_graphs()) {
        const std::string path = folder + "/" + seed.name + ".onnx";
        std::ofstream(path, std::ios::binary) << seed.model.SerializeAsString();
        try {
            (void)onnx::import(path);
        } catch (const Error& error) {
            throw std::runtime_error(std::string("a seed is refused: ") + error.what());
        }
    }
}

}  // namespace enmesh::testing
