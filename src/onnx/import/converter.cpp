#include "onnx/import/converter.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "onnx/import/attributes.hpp"

namespace enmesh::onnx {
namespace {

constexpr int64_t most_elements = int64_t{1} << 40;
// What a node of the graph takes about as much memory as: one node of the file can make a thousand.
constexpr int64_t elements_of_a_node = 256;
constexpr int64_t most_batch = int64_t{1} << 24;

/// Weights that are stored in another float type than the float32 they are computed with.
bool widens(const NodeView& node, const std::vector<const Constant*>& inputs) {
    if (inputs.empty() || inputs[0] == nullptr || !inputs[0]->real() || !inputs[0]->origin) return false;
    if (node.type() == "Cast") return node.integer("to", 0) == proto::TensorProto_DataType_FLOAT;
    return node.type() == "CastLike" && inputs.size() > 1 && inputs[1] != nullptr &&
           inputs[1]->type == proto::TensorProto_DataType_FLOAT;
}

/// Casts to the type that is there and expansions to the shape that is there: exporters write them around
/// weights.
bool changes_nothing(const NodeView& node, const std::vector<const Constant*>& inputs) {
    if (inputs.empty() || inputs[0] == nullptr) return false;
    if (node.type() == "Cast") return node.integer("to", 0) == inputs[0]->type;
    if (inputs.size() < 2 || inputs[1] == nullptr) return false;
    if (node.type() == "CastLike") return inputs[1]->type == inputs[0]->type;
    if (node.type() != "Expand" || inputs[1]->real() || inputs[1]->shape.rank() != 1) return false;
    return Shape(inputs[1]->integers()) == inputs[0]->shape;
}

Tensor tensor_of(const Constant& constant) {
    Tensor tensor(constant.shape);
    const std::span<const float> values = constant.reals();
    std::copy(values.begin(), values.end(), tensor.f32().begin());
    return tensor;
}

std::string steps_text(const Origin& origin) {
    std::string text = fmt::format("{}", origin.initializer);
    for (const TensorStep& step : origin.steps)
        text += step.mirrored        ? "~"
                : step.order.empty() ? ":" + to_string(step.shape)
                                     : ">" + to_string(Shape(step.order));
    return text;
}

/// "/layer1/layer1.0/conv1/Conv" names its module twice over: "layer1.0.conv1".
std::string module_path(std::string_view node_name) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < node_name.size();) {
        const size_t end = std::min(node_name.find('/', at), node_name.size());
        if (end > at) parts.emplace_back(node_name.substr(at, end - at));
        at = end + 1;
    }
    if (parts.size() > 1) parts.pop_back();  // the operator
    std::string path, last;
    for (const std::string& part : parts) {
        const bool inside = !last.empty() && part.starts_with(last + ".");
        const std::string tail = inside ? part.substr(last.size() + 1) : part;
        path += (path.empty() ? "" : ".") + tail;
        last = part;
    }
    return path;
}

bool reserved(std::string_view name) {
    constexpr std::array names = {"images", "labels", "learning_rate", "gradient_scale", "update_count"};
    return name.empty() || name.starts_with("%") ||
           std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Converter::Converter(const ModelFile& file, const ImportOptions& options)
    : file_(file),
      source_(file.model.graph()),
      options_(options),
      opset_(opset_of(file.model)),
      budget_((int64_t{1} << 24) + static_cast<int64_t>(file.bytes)) {
    for (int i = 0; i < source_.initializer_size(); ++i) {
        if (!initializers_.emplace(source_.initializer(i).name(), i).second)
            refuse("two initialisers are called '{}'", source_.initializer(i).name());
        weights_.push_back(source_.initializer(i).name());
    }
    std::set<std::string_view> made;
    for (const proto::NodeProto& node : source_.node()) {
        for (const std::string& output : node.output()) {
            if (!output.empty() && !made.insert(output).second) refuse("two values are called '{}'", output);
        }
    }
    if (source_.sparse_initializer_size() > 0) refuse("sparse initialisers are not supported");
}

void Converter::read_input() {
    const proto::ValueInfoProto* input = nullptr;
    std::string names;
    int count = 0;
    for (const proto::ValueInfoProto& candidate : source_.input()) {
        if (initializers_.contains(candidate.name())) continue;
        input = &candidate;
        names += (count++ == 0 ? "" : ", ") + candidate.name();
    }
    if (count != 1) refuse("{} inputs ({}); one is supported, the images", count, names);
    input_ = input->name();
    const proto::TypeProto_Tensor& tensor = input->type().tensor_type();
    if (tensor.elem_type() != proto::TensorProto_DataType_FLOAT)
        refuse("input '{}' is {}, float32 expected", input_, type_name(tensor.elem_type()));
    if (tensor.shape().dim_size() != 4) {
        refuse("input '{}' has {} axes, images of N x C x H x W expected", input_, tensor.shape().dim_size());
    }
    if (options_.batch < 1 || options_.batch > most_batch)
        refuse("a batch of {}: 1 to {} are possible", options_.batch, most_batch);
    // Of the file's axes: where our axis lies.
    const bool nhwc = input_is_nhwc();
    const std::array<int, 4> places = nhwc ? std::array{0, 3, 1, 2} : std::array{0, 1, 2, 3};
    std::vector<int64_t> dims;
    for (int axis = 0; axis < 4; ++axis) {
        const proto::TensorShapeProto_Dimension& dim = tensor.shape().dim(places[static_cast<size_t>(axis)]);
        const bool open = !dim.has_dim_value();
        const auto asked = axis > 0 && options_.image.has_value()
                               ? std::optional((*options_.image)[static_cast<size_t>(axis) - 1])
                               : std::nullopt;
        if (axis == 0) {
            dynamic_batch_ = open;
            dims.push_back(open ? options_.batch : dim.dim_value());
        } else if (open && !asked.has_value()) {
            refuse("input '{}' leaves axis {} of its images open ('{}'): give --image CxHxW", input_, axis,
                   dim.dim_param());
        } else if (!open && asked.has_value() && *asked != dim.dim_value()) {
            refuse("input '{}' takes {} along axis {}, --image says {}", input_, dim.dim_value(), axis,
                   *asked);
        } else {
            dims.push_back(open ? *asked : dim.dim_value());
        }
        const int64_t limit = axis == 0 ? most_batch : int64_t{1} << 20;
        if (dims.back() < 1 || dims.back() > limit) {
            refuse("input '{}' has an extent of {} along axis {}: 1 to {} are possible", input_, dims.back(),
                   axis, limit);
        }
    }
    checked_elements(dims, most_elements);
    batch_ = dims[0];
    ValueId images = graph_.add_input("images", {Shape(std::move(dims)), DType::f32, {}});
    layer_ = input_;
    if (nhwc) images = add(Transpose{{0, 2, 3, 1}}, {images});
    define(input_, {images, nullptr});
}

const std::string& Converter::name_of(const Origin& origin) const {
    return weights_[static_cast<size_t>(origin.initializer)];
}

const Converter::Entry* Converter::find(const NodeView& node, int i) const {
    if (!node.has_input(i)) return nullptr;
    const std::string& name = node.proto().input(i);
    const auto found = entries_.find(name);
    if (found != entries_.end()) return &found->second;
    for (const proto::NodeProto& other : source_.node()) {
        if (std::find(other.output().begin(), other.output().end(), name) != other.output().end()) {
            refuse("it uses '{}' before node '{}' makes it: the graph has a cycle or is not in order", name,
                   other.name());
        }
    }
    refuse("it uses '{}', which is neither an input, an initialiser nor the result of a node", name);
}

void Converter::define(const std::string& name, Entry entry) {
    if (name.empty()) return;
    if (!entries_.emplace(name, std::move(entry)).second) refuse("two values are called '{}'", name);
}

void Converter::set(const NodeView& node, int output, ValueId value) {
    if (output < node.proto().output_size()) define(node.proto().output(output), {value, nullptr});
}

void Converter::set(const NodeView& node, int output, Constant constant) {
    if (output < node.proto().output_size())
        define(node.proto().output(output), {{}, std::make_shared<const Constant>(std::move(constant))});
}

void Converter::set_sequence(const NodeView& node, std::vector<ValueId> values) {
    if (node.proto().output_size() > 0) define(node.proto().output(0), {{}, nullptr, std::move(values)});
}

const std::vector<ValueId>& Converter::sequence(const NodeView& node, int i) const {
    const Entry* const entry = find(node, i);
    if (entry == nullptr || entry->sequence.empty()) refuse("input {} is no sequence", i);
    return entry->sequence;
}

const Constant* Converter::constant(const NodeView& node, int i) const {
    const Entry* const entry = find(node, i);
    return entry != nullptr ? entry->constant.get() : nullptr;
}

const Constant& Converter::required(const NodeView& node, int i, std::string_view what) const {
    const Entry* const entry = find(node, i);
    if (entry == nullptr) refuse("its {} are missing", what);
    if (entry->constant != nullptr) return *entry->constant;
    const std::string& name = node.proto().input(i);
    if (depends_on_images(*entry)) refuse("its {} ('{}') depend on the images", what, name);
    refuse("its {} ('{}') are computed from trained weights, which is not supported", what, name);
}

bool Converter::depends_on_images(const Entry& entry) const {
    std::vector<ValueId> open = entry.sequence;
    if (entry.value.has_value()) open.push_back(*entry.value);
    std::set<int> seen;
    while (!open.empty()) {
        const ValueId id = open.back();
        open.pop_back();
        if (!seen.insert(id.index).second) continue;
        const Value& value = graph_.value(id);
        if (value.role == Role::input) return true;
        if (value.producer < 0) continue;
        const std::vector<ValueId>& inputs = graph_.node(value.producer).inputs;
        open.insert(open.end(), inputs.begin(), inputs.end());
    }
    return false;
}

std::optional<double> Converter::scalar(const NodeView& node, int i) const {
    const Constant* const found = constant(node, i);
    if (found == nullptr || found->elements() != 1) return std::nullopt;
    return found->number(0);
}

std::string Converter::layer_of(const NodeView& node) const {
    for (int i = 1; i < node.inputs(); ++i) {
        if (!node.has_input(i)) continue;
        const auto entry = entries_.find(node.proto().input(i));
        if (entry == entries_.end() || !entry->second.constant || !entry->second.constant->origin) continue;
        const std::string& name = name_of(*entry->second.constant->origin);
        const size_t dot = name.rfind('.');
        if (dot != std::string::npos && dot > 0 && name.find(':') == std::string::npos)
            return name.substr(0, dot);
    }
    const std::string path = module_path(node.name());
    return path.empty() ? fmt::format("{}_{}", node.type(), node.index()) : path;
}

std::string Converter::unique_name(const std::string& wanted) const {
    std::string name = reserved(wanted) ? "weights." + wanted : wanted;
    for (int i = 2; graph_.find(name).valid(); ++i)
        name = fmt::format("{}#{}", reserved(wanted) ? "weights." + wanted : wanted, i);
    return name;
}

/// An initialiser's elements as a parameter or state, once for each use that changes them alike.
ValueId Converter::linked(const NodeView& node, int i, const Constant& constant, Role role, bool decayed) {
    const Origin& origin = *constant.origin;
    const std::string& initializer = name_of(origin);
    const std::string key = steps_text(origin) + (role == Role::state ? " state" : "");
    // Every norm needs running statistics of its own, even where the file shares one initialiser among them.
    const bool shared_state = role == Role::state && first_use_.contains(origin.initializer);
    if (const auto known = materialized_.find(key); known != materialized_.end() && !shared_state)
        return known->second;
    const auto [first, is_first] = first_use_.emplace(origin.initializer, key);
    if (!is_first && !shared_state) two_forms_.insert(initializer);
    if (constant.type != proto::TensorProto_DataType_FLOAT) {
        refuse("initialiser '{}' holds {} where float32 weights are expected; convert the model to float32",
               initializer, type_name(constant.type));
    }
    const std::span<const float> values = constant.reals();
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
    if (bad != values.end()) {
        refuse("initialiser '{}' is not finite: element {} is {}", initializer, bad - values.begin(),
               static_cast<double>(*bad));
    }
    const std::string name = unique_name(initializer);
    if (shared_state) pay(constant.elements(), "running statistics");
    const Initializer given{Initializer::Kind::given, 0, std::make_shared<const Tensor>(tensor_of(constant))};
    const ValueId id = role == Role::state ? graph_.add_state(name, {constant.shape, DType::f32, {}}, given)
                                           : graph_.add_parameter(name, constant.shape, given, decayed);
    WeightLink link{.value = name, .initializer = initializer, .steps = origin.steps};
    if (shared_state) {
        link.node = node.index();
        link.input = i;
    }
    links_.push_back(std::move(link));
    materialized_.emplace(key, id);
    return id;
}

ValueId Converter::materialize(const NodeView& node, int i, const Constant& constant, Role role,
                               bool decayed) {
    if (!constant.real()) {
        refuse("input '{}' is {}, float32 expected", node.has_input(i) ? node.proto().input(i) : "",
               type_name(constant.type));
    }
    if (constant.elements() == 0) refuse("input '{}' has no elements", node.proto().input(i));
    const bool trained =
        constant.origin.has_value() && (constant.elements() > 1 || role == Role::state || decayed);
    if (trained) return linked(node, i, constant, role, decayed);
    if (constant.origin.has_value() && constant.type != proto::TensorProto_DataType_FLOAT) {
        refuse("initialiser '{}' holds {} where float32 is expected", name_of(*constant.origin),
               type_name(constant.type));
    }
    return add_constant(tensor_of(constant));
}

ValueId Converter::value(const NodeView& node, int i) {
    const Entry* const entry = find(node, i);
    if (entry == nullptr) refuse("input {} is missing", i);
    if (entry->value.has_value()) return *entry->value;
    if (entry->constant == nullptr) refuse("input {} is a sequence", i);
    // A layer's own scales, shifts and biases are trained even with one channel.
    const bool layer = is_layer(node.type()) && node.type() != "MatMul";
    const std::shared_ptr<const Constant> kept = entry->constant;
    return layer ? parameter(node, i, *kept) : materialize(node, i, *kept, Role::parameter, false);
}

ValueId Converter::weights(const NodeView& node, int i, const Constant& constant) {
    return materialize(node, i, constant, Role::parameter, true);
}

ValueId Converter::parameter(const NodeView& node, int i, const Constant& constant) {
    if (constant.real() && constant.origin.has_value())
        return linked(node, i, constant, Role::parameter, false);
    return materialize(node, i, constant, Role::parameter, false);
}

ValueId Converter::state(const NodeView& node, int i) {
    const Constant found = required(node, i, "running statistics");
    return materialize(node, i, found, Role::state, false);
}

void Converter::pay(int64_t elements, std::string_view what) {
    if (elements > budget_) refuse("its {} are more than a file of this size should make", what);
    budget_ -= elements;
}

ValueId Converter::add_zeros(const Shape& shape) {
    // The shape may be that of a value whose elements are never made.
    if (shape.elements() > budget_) refuse("its constants are more than a file of this size should make");
    return add_constant(Tensor(shape));
}

ValueId Converter::add_constant(Tensor tensor) {
    pay(tensor.elements(), "constants");
    return graph_.add_constant(unique_name(fmt::format("constant.{}", graph_.values().size())),
                               std::make_shared<const Tensor>(std::move(tensor)));
}

ValueId Converter::add(Operation operation, std::vector<ValueId> inputs) {
    // Two transpositions in a row are one, or none.
    if (Transpose* const second = std::get_if<Transpose>(&operation.attributes)) {
        const int producer = graph_.value(inputs[0]).producer;
        const Transpose* const first =
            producer < 0 ? nullptr : graph_.node(producer).operation.as<Transpose>();
        const std::array src = {graph_.type(inputs[0])};
        if (first != nullptr && infer(operation, src).size() == 1) {
            for (int64_t& axis : second->order) axis = first->order[static_cast<size_t>(axis)];
            inputs = {graph_.node(producer).inputs[0]};
            if (std::is_sorted(second->order.begin(), second->order.end())) return inputs[0];
        }
    }
    std::string layer = layer_;
    if (is_product(operation)) {
        for (int i = 2; !product_layers_.insert(layer).second; ++i) layer = fmt::format("{}_{}", layer_, i);
    }
    std::vector<ValueType> types;
    types.reserve(inputs.size());
    for (const ValueId input : inputs) types.push_back(graph_.type(input));
    pay(elements_of_a_node, "nodes");
    for (const ValueType& type : infer(operation, types)) checked_elements(type.shape.dims(), most_elements);
    ValueId result = graph_.add(std::move(operation), std::move(inputs), layer).front();
    while (auto fused = fuse(graph_, result)) {
        const std::string name = graph_.node(fused->layer_of).layer;
        result = graph_.add(std::move(fused->operation), std::move(fused->inputs), name).front();
    }
    return result;
}

bool Converter::try_fold(const NodeView& node) {
    if (!foldable(node.type())) return false;
    const bool asks_shape = node.type() == "Shape" || node.type() == "Size";
    std::vector<const Constant*> inputs;
    std::deque<Constant> of_values;  // a shape each, without elements
    bool trained = false;
    for (int i = 0; i < node.inputs(); ++i) {
        const Entry* const entry = find(node, i);
        if (entry != nullptr && entry->value.has_value()) {
            const bool asks_type = node.type() == "CastLike" && i == 1;
            if (!asks_shape && !asks_type) return false;
            of_values.emplace_back().shape = shape(*entry->value);
            inputs.push_back(&of_values.back());
            continue;
        }
        if (entry != nullptr && entry->constant == nullptr) return false;
        const Constant* const known = entry != nullptr ? entry->constant.get() : nullptr;
        trained = trained ||
                  (known != nullptr && known->real() && known->origin.has_value() && known->elements() > 1);
        inputs.push_back(known);
    }
    // What is computed from weights stays in the graph, so that they can be trained.
    const bool no_change = changes_nothing(node, inputs);
    if (trained && !asks_shape && !rearranges(node.type()) && !no_change && !widens(node, inputs) &&
        find_operator(node.type()) != nullptr)
        return false;
    const bool wider = !no_change && widens(node, inputs);
    std::vector<Constant> results =
        no_change || wider ? std::vector<Constant>{*inputs[0]} : fold(node, inputs, budget_);
    if (wider) results[0].type = proto::TensorProto_DataType_FLOAT;
    if (node.type() == "Constant" && node.proto().output_size() > 0 &&
        constant_weights_.contains(node.proto().output(0))) {
        results[0].origin = Origin{static_cast<int>(weights_.size()), {}};
        weights_.push_back(node.proto().output(0));
    }
    for (size_t i = 0; i < results.size(); ++i) set(node, static_cast<int>(i), std::move(results[i]));
    return true;
}

void Converter::convert(const NodeView& node) {
    try {
        for (int i = 0; i < node.inputs(); ++i) find(node, i);
        layer_ = layer_of(node);
        if (try_fold(node)) return require_all_read(node);
        const ConvertOperator run_operator = find_operator(node.type());
        if (run_operator == nullptr)
            refuse(
                "is supported on shapes and constants only, not on what depends on the images or on "
                "trained weights");
        run_operator(*this, node);
        require_all_read(node);
        for (int i = 1; i < node.proto().output_size(); ++i) {
            const std::string& output = node.proto().output(i);
            if (is_read(node, i) && !output.empty() && !entries_.contains(output))
                refuse("its result {} ('{}') is not supported, and another node reads it", i, output);
        }
    } catch (const Error& error) {
        throw Error(error.kind(), fmt::format("node '{}' ({}): {}", node.name(), node.type(), error.what()));
    }
}

void Converter::add_notes(Model& model) const {
    bool norms = false, biased = false;
    for (const Node& node : model.graph.nodes()) {
        norms = norms || node.operation.is<BatchNorm>() || node.operation.is<LayerNorm>();
        biased = biased || (node.operation.is<Conv2d>() && node.inputs.size() == 3);
    }
    if (biased && !norms) {
        model.notes.emplace_back(
            "no batch norms, but convolutions with biases: if the network has norms, the exporter folded "
            "them. To "
            "retrain, export with them: torch.onnx.export(..., dynamo=False, "
            "training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False), or dynamo=True, "
            "optimize=False");
    }
    model.notes.insert(model.notes.end(), notes_.begin(), notes_.end());
    if (std::string text = left_out(); !text.empty()) model.notes.push_back(std::move(text));
    for (const std::string& name : two_forms_) {
        model.not_trainable.push_back(
            fmt::format("'{}' is used in two different forms, which cannot be trained together", name));
    }
    if (!dynamic_batch_)
        model.notes.push_back(
            fmt::format("the file fixes the batch at {}; it is kept in what is exported", batch_));
    const int producer = model.graph.value(model.graph.outputs[0]).producer;
    if (producer >= 0 && model.graph.node(producer).operation.is<Softmax>())
        model.notes.emplace_back("the output is a softmax; training expects logits in front of it");
}

Model Converter::run() && {
    if (source_.output_size() != 1) {
        std::string names;
        for (const proto::ValueInfoProto& output : source_.output())
            names += (names.empty() ? "" : ", ") + output.name();
        refuse("{} outputs ({}); one is supported, the logits", source_.output_size(), names);
    }
    find_live_nodes();
    check_operators();
    find_constant_weights();
    read_input();
    for (int i = 0; i < source_.initializer_size(); ++i) {
        Constant constant = read_constant(source_.initializer(i));
        constant.origin = Origin{i, {}};
        define(source_.initializer(i).name(), {{}, std::make_shared<const Constant>(std::move(constant))});
    }
    for (int i = 0; i < source_.node_size(); ++i) {
        if (live_[static_cast<size_t>(i)]) convert(NodeView(source_.node(i), i, opset_));
    }
    const std::string& output = source_.output(0).name();
    const auto found = entries_.find(output);
    if (found == entries_.end() || !found->second.value.has_value())
        refuse("its output '{}' does not depend on its input", output);
    graph_.outputs = {*found->second.value};

    Model model;
    model.graph = prune_graph(graph_);
    model.input = input_;
    model.output = output;
    model.dynamic_batch = dynamic_batch_;
    model.opset = opset_;
    model.producer = file_.model.producer_name();
    if (!file_.model.producer_version().empty()) model.producer += " " + file_.model.producer_version();
    for (WeightLink& link : links_) {
        if (model.graph.find(link.value).valid()) model.weights.push_back(std::move(link));
    }
    add_notes(model);
    return model;
}

}  // namespace enmesh::onnx
