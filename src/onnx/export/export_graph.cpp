#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <numeric>
#include <set>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "enmesh/graph/with_batch.hpp"
#include "enmesh/onnx/export.hpp"
#include "onnx/export/write_tensor.hpp"
#include "onnx/model_file.hpp"

namespace enmesh::onnx {
namespace {

constexpr int64_t written_opset = 17, written_ir_version = 8;
constexpr int64_t batch_here = 3, batch_there = 5;

using Names = std::vector<std::string>;

/// The graph for two batches at once: extents that differ carry the batch, which the file leaves open.
class Writer {
  public:
    Writer(const Graph& graph, const TensorSource& weights)
        : graph_(inference_graph(with_batch(graph, batch_here))),
          other_(inference_graph(with_batch(graph, batch_there))),
          weights_(weights) {
        model_.set_ir_version(written_ir_version);
        model_.set_producer_name("enmesh");
        model_.add_opset_import()->set_version(written_opset);
        out().set_name("enmesh");
    }

    proto::ModelProto run() && {
        names_.resize(graph_.values().size());
        write_input();
        for (size_t i = 0; i < graph_.values().size(); ++i) write_known(ValueId{static_cast<int>(i)});
        for (const Node& node : graph_.nodes()) write(node);
        write_output();
        return std::move(model_);
    }

  private:
    proto::GraphProto& out() { return *model_.mutable_graph(); }
    const std::string& name(ValueId value) const { return names_[static_cast<size_t>(value.index)]; }
    const Shape& shape(ValueId value) const { return graph_.type(value).shape; }
    /// The extent where it is the same for every batch, -1 where it grows with the batch.
    int64_t extent(ValueId value, int axis) const {
        const int64_t here = graph_.type(value).shape[axis], there = other_.type(value).shape[axis];
        return here == there ? here : -1;
    }

    std::string unique(const std::string& wanted) {
        std::string result = wanted;
        for (int i = 2; !used_.insert(result).second; ++i) result = fmt::format("{}_{}", wanted, i);
        return result;
    }

    void describe(proto::ValueInfoProto& info, ValueId value) {
        info.set_name(name(value));
        proto::TypeProto_Tensor& tensor = *info.mutable_type()->mutable_tensor_type();
        tensor.set_elem_type(graph_.type(value).dtype == DType::i32 ? proto::TensorProto_DataType_INT32
                                                                    : proto::TensorProto_DataType_FLOAT);
        for (int axis = 0; axis < shape(value).rank(); ++axis) {
            proto::TensorShapeProto_Dimension& dim = *tensor.mutable_shape()->add_dim();
            if (extent(value, axis) < 0) {
                dim.set_dim_param("batch");
            } else {
                dim.set_dim_value(extent(value, axis));
            }
        }
    }

    void write_input() {
        for (size_t i = 0; i < graph_.values().size(); ++i) {
            const Value& value = graph_.values()[i];
            if (value.role == Role::input && value.name != "labels") {
                names_[i] = unique(value.name);
                describe(*out().add_input(), ValueId{static_cast<int>(i)});
            } else if (value.role == Role::parameter || value.role == Role::state) {
                names_[i] = unique(value.name);
            }
        }
    }

    void write_output() {
        const ValueId logits = graph_.outputs.at(0);
        for (proto::NodeProto& node : *out().mutable_node()) {
            for (std::string& result : *node.mutable_output())
                result = result == name(logits) ? "logits" : result;
            for (std::string& input : *node.mutable_input()) input = input == name(logits) ? "logits" : input;
        }
        names_[static_cast<size_t>(logits.index)] = "logits";
        describe(*out().add_output(), logits);
    }

    void write_known(ValueId id) {
        const Value& value = graph_.value(id);
        if (value.role == Role::parameter || value.role == Role::state) {
            write_tensor(*out().add_initializer(), name(id), checked_weights(weights_, value));
        } else if (value.role == Role::constant) {
            names_[static_cast<size_t>(id.index)] = write_constant(id);
        }
    }

    /// A constant that repeats one slice per image is written once and expanded to the batch.
    std::string write_constant(ValueId id) {
        const Tensor& tensor = *graph_.value(id).initializer.given;
        if (tensor.dtype() != DType::f32)
            refuse("constant '{}' is {}", graph_.value(id).name, to_string(tensor.dtype()));
        if (other_.type(id).shape == tensor.shape()) return initializer(graph_.value(id).name, tensor);
        Shape slice = tensor.shape();
        slice[0] = 1;
        Tensor first(slice);
        std::memcpy(first.data(), tensor.data(), first.bytes());
        const std::string once = initializer(graph_.value(id).name, first);
        return emit("Expand", {once, dynamic_shape(id)}, graph_.value(id).name);
    }

    std::string initializer(const std::string& wanted, const Tensor& tensor) {
        std::string result = unique(wanted);
        write_tensor(*out().add_initializer(), result, tensor);
        return result;
    }
    std::string number(float value) {
        Tensor tensor{Shape{}};
        tensor.f32()[0] = value;
        return initializer("number", tensor);
    }
    std::string integers(const std::vector<int64_t>& values) {
        Tensor tensor(Shape{static_cast<int64_t>(values.size())}, DType::i64);
        std::copy(values.begin(), values.end(), tensor.as<int64_t>().begin());
        return initializer("integers", tensor);
    }

    /// The value's shape as a tensor, the batch taken from the images.
    std::string dynamic_shape(ValueId id) {
        std::vector<int64_t> dims;
        bool open = false;
        for (int axis = 0; axis < shape(id).rank(); ++axis) {
            dims.push_back(extent(id, axis));
            if (dims.back() >= 0) continue;
            if (open || axis != 0 || shape(id)[axis] != batch_here)
                refuse("a shape of {} cannot follow the batch", to_string(shape(id)));
            open = true;
        }
        if (!open) return integers(dims);
        if (batch_.empty()) {
            const std::string all = emit("Shape", {name(graph_.find("images"))}, "images.shape");
            batch_ = emit("Slice", {all, integers({0}), integers({1})}, "batch");
        }
        proto::NodeProto* const node =
            add("Concat", {batch_, integers({dims.begin() + 1, dims.end()})}, "shape");
        set(*node, "axis", int64_t{0});
        return node->output(0);
    }

    proto::NodeProto* add(const char* type, const Names& inputs, const std::string& result) {
        proto::NodeProto* const node = out().add_node();
        node->set_op_type(type);
        for (const std::string& input : inputs) node->add_input(input);
        node->add_output(unique(result));
        node->set_name(unique("node." + node->output(0)));
        return node;
    }
    std::string emit(const char* type, const Names& inputs, const std::string& result) {
        return add(type, inputs, result)->output(0);
    }
    static proto::AttributeProto& attribute(proto::NodeProto& node, const char* key) {
        proto::AttributeProto& result = *node.add_attribute();
        result.set_name(key);
        return result;
    }
    static void set(proto::NodeProto& node, const char* key, int64_t value) {
        proto::AttributeProto& result = attribute(node, key);
        result.set_type(proto::AttributeProto_AttributeType_INT);
        result.set_i(value);
    }
    static void set(proto::NodeProto& node, const char* key, double value) {
        proto::AttributeProto& result = attribute(node, key);
        result.set_type(proto::AttributeProto_AttributeType_FLOAT);
        result.set_f(static_cast<float>(value));
    }
    template <typename List>
    static void set_list(proto::NodeProto& node, const char* key, const List& values) {
        proto::AttributeProto& result = attribute(node, key);
        result.set_type(proto::AttributeProto_AttributeType_INTS);
        for (const int64_t value : values) result.add_ints(value);
    }

    void write(const Node& node) {
        current_ = &node;
        const std::string result =
            std::visit([&](const auto& op) { return write(op); }, node.operation.attributes);
        names_[static_cast<size_t>(node.outputs[0].index)] = result;
    }
    const std::string& in(size_t i) const { return name(current_->inputs[i]); }
    Names all_inputs() const {
        Names result;
        for (size_t i = 0; i < current_->inputs.size(); ++i) result.push_back(in(i));
        return result;
    }
    std::string wanted() const {
        return fmt::format("{}.{}", current_->layer, enmesh::name(current_->operation));
    }
    /// The operator of that name on the node's own inputs.
    proto::NodeProto& plain(const char* type) { return *add(type, all_inputs(), wanted()); }
    std::string simple(const char* type) { return plain(type).output(0); }

    template <typename Op>
    std::string write(const Op&) {
        refuse("layer '{}': ONNX has no operator for {}", current_->layer, Op::name);
    }
    std::string write(const Conv2d& conv) {
        proto::NodeProto& node = plain("Conv");
        const Shape& kernel = shape(current_->inputs[1]);
        set_list(node, "kernel_shape", std::array{kernel[2], kernel[3]});
        set_list(node, "strides", conv.stride);
        set_list(node, "pads", conv.padding);
        set_list(node, "dilations", conv.dilation);
        set(node, "group", conv.groups);
        return node.output(0);
    }
    std::string write(const Linear&) {
        if (shape(current_->inputs[0]).rank() == 2) {
            proto::NodeProto& node = plain("Gemm");
            set(node, "transB", int64_t{1});
            return node.output(0);
        }
        const std::string weights = swapped(in(1), 2);
        const std::string product = emit("MatMul", {in(0), weights}, wanted());
        return current_->inputs.size() == 3 ? emit("Add", {product, in(2)}, wanted()) : product;
    }
    /// The last two axes exchanged.
    std::string swapped(const std::string& value, int rank) {
        std::vector<int64_t> order(static_cast<size_t>(rank));
        std::iota(order.begin(), order.end(), 0);
        std::swap(order[order.size() - 2], order[order.size() - 1]);
        proto::NodeProto& node = *add("Transpose", {value}, value + ".transposed");
        set_list(node, "perm", order);
        return node.output(0);
    }
    std::string write(const MatMul& matmul) {
        const int rank = shape(current_->inputs[0]).rank();
        const std::string a = matmul.transpose_a ? swapped(in(0), rank) : in(0);
        const std::string b = matmul.transpose_b ? swapped(in(1), rank) : in(1);
        return emit("MatMul", {a, b}, wanted());
    }
    std::string write(const BatchNorm& norm) {
        proto::NodeProto& node = plain("BatchNormalization");
        set(node, "epsilon", norm.epsilon);
        set(node, "momentum", 1 - norm.momentum);
        return node.output(0);
    }
    std::string write(const LayerNorm& norm) {
        proto::NodeProto& node = plain("LayerNormalization");
        set(node, "epsilon", norm.epsilon);
        set(node, "axis", int64_t{-1});
        return node.output(0);
    }
    std::string write(const Relu&) { return simple("Relu"); }
    std::string write(const Add&) { return simple("Add"); }
    std::string write(const Subtract&) { return simple("Sub"); }
    std::string write(const Multiply&) { return simple("Mul"); }
    std::string write(const Divide&) { return simple("Div"); }
    std::string write(const Scale& scale) {
        return emit("Mul", {in(0), number(static_cast<float>(scale.factor))}, wanted());
    }
    std::string write(const Gelu&) {
        constexpr auto factor = static_cast<float>(std::numbers::sqrt2 / 2);
        const std::string scaled = emit("Mul", {in(0), number(factor)}, wanted());
        const std::string gate = emit("Add", {emit("Erf", {scaled}, wanted()), number(1)}, wanted());
        return emit("Mul", {emit("Mul", {in(0), gate}, wanted()), number(0.5F)}, wanted());
    }
    std::string gelu_tanh() {
        const std::string cube = emit("Pow", {in(0), number(3)}, wanted());
        const std::string sum =
            emit("Add", {in(0), emit("Mul", {cube, number(0.044715F)}, wanted())}, wanted());
        const auto factor = static_cast<float>(std::sqrt(2 / std::numbers::pi));
        const std::string inner = emit("Tanh", {emit("Mul", {sum, number(factor)}, wanted())}, wanted());
        const std::string gate = emit("Add", {inner, number(1)}, wanted());
        return emit("Mul", {emit("Mul", {in(0), gate}, wanted()), number(0.5F)}, wanted());
    }
    std::string write(const Unary& unary) {
        switch (unary.kind) {
            case UnaryKind::clip: {
                const auto bound = [&](double value) {
                    return std::isinf(value) ? std::string() : number(static_cast<float>(value));
                };
                return emit("Clip", {in(0), bound(unary.a), bound(unary.b)}, wanted());
            }
            case UnaryKind::hard_sigmoid: {
                proto::NodeProto& node = plain("HardSigmoid");
                set(node, "alpha", unary.a);
                set(node, "beta", unary.b);
                return node.output(0);
            }
            case UnaryKind::leaky_relu: {
                proto::NodeProto& node = plain("LeakyRelu");
                set(node, "alpha", unary.a);
                return node.output(0);
            }
            case UnaryKind::silu:
                return emit("Mul", {in(0), emit("Sigmoid", {in(0)}, wanted())}, wanted());
            case UnaryKind::power:
                return emit("Pow", {in(0), number(static_cast<float>(unary.a))}, wanted());
            case UnaryKind::gelu_tanh:
                return gelu_tanh();
            case UnaryKind::sigmoid:
                return simple("Sigmoid");
            case UnaryKind::hard_swish:
                return simple("HardSwish");
            case UnaryKind::tanh:
                return simple("Tanh");
            case UnaryKind::erf:
                return simple("Erf");
            case UnaryKind::exp:
                return simple("Exp");
            case UnaryKind::log:
                return simple("Log");
            case UnaryKind::sqrt:
                return simple("Sqrt");
            case UnaryKind::none:
                break;
        }
        refuse("layer '{}': ONNX has no operator for {}", current_->layer, to_string(unary.kind));
    }
    static void set_window(proto::NodeProto& node, const PoolWindow& window) {
        set_list(node, "kernel_shape", window.kernel);
        set_list(node, "strides", window.stride);
        set_list(node, "pads", window.padding);
        set(node, "ceil_mode", int64_t{window.ceil});
    }
    std::string write(const MaxPool2d& pool) {
        proto::NodeProto& node = plain("MaxPool");
        set_window(node, pool.window);
        return node.output(0);
    }
    std::string write(const AveragePool2d& pool) {
        proto::NodeProto& node = plain("AveragePool");
        set_window(node, pool.window);
        set(node, "count_include_pad", int64_t{pool.count_padding});
        return node.output(0);
    }
    std::string write(const GlobalAveragePool&) { return simple("GlobalAveragePool"); }
    std::string write(const Reduce& reduce) {
        proto::NodeProto& node = plain(reduce.mean ? "ReduceMean" : "ReduceSum");
        if (reduce.mean) {
            set_list(node, "axes", reduce.axes);
        } else {
            node.add_input(integers(reduce.axes));
        }
        set(node, "keepdims", int64_t{reduce.keep});
        return node.output(0);
    }
    std::string write(const Softmax&) {
        proto::NodeProto& node = plain("Softmax");
        set(node, "axis", int64_t{-1});
        return node.output(0);
    }
    std::string write(const Reshape&) {
        const ValueId result = current_->outputs[0];
        std::vector<int64_t> dims;
        int open = 0;
        for (int axis = 0; axis < shape(result).rank(); ++axis) {
            dims.push_back(extent(result, axis));
            open += dims.back() < 0 ? 1 : 0;
        }
        if (open > 1) refuse("layer '{}': the batch is in several axes", current_->layer);
        return emit("Reshape", {in(0), integers(dims)}, wanted());
    }
    std::string write(const Transpose& transpose) {
        proto::NodeProto& node = plain("Transpose");
        set_list(node, "perm", transpose.order);
        return node.output(0);
    }
    std::string write(const Concat& concat) {
        proto::NodeProto& node = plain("Concat");
        set(node, "axis", concat.axis);
        return node.output(0);
    }
    std::string write(const Slice& slice) {
        return emit("Slice",
                    {in(0), integers({slice.begin}), integers({slice.end}), integers({slice.axis}),
                     integers({slice.step})},
                    wanted());
    }
    std::string write(const Expand&) {
        return emit("Expand", {in(0), dynamic_shape(current_->outputs[0])}, wanted());
    }
    std::string write(const Pad& pad) {
        std::vector<int64_t> pads = pad.before;
        pads.insert(pads.end(), pad.after.begin(), pad.after.end());
        return emit("Pad", {in(0), integers(pads), number(static_cast<float>(pad.value))}, wanted());
    }
    std::string write(const Embedding&) { return emit("Gather", {in(1), in(0)}, wanted()); }

    Graph graph_, other_;
    const TensorSource& weights_;
    proto::ModelProto model_;
    std::vector<std::string> names_;
    std::set<std::string> used_{"logits"};
    std::string batch_;
    const Node* current_ = nullptr;
};

}  // namespace

void save(const std::filesystem::path& path, const Graph& graph, const TensorSource& weights,
          const ExportOptions& options) {
    if (graph.outputs.size() != 1) refuse("a graph with {} outputs cannot be exported", graph.outputs.size());
    write_model(path, Writer(graph, weights).run(), options.external_data);
}

}  // namespace enmesh::onnx
