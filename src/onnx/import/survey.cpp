#include <algorithm>
#include <array>

#include "enmesh/base/error.hpp"
#include "onnx/import/converter.hpp"

// What is found out about the file's graph before any of it is converted.

namespace enmesh::onnx {

bool rearranges(std::string_view op_type) {
    constexpr std::array names = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"};
    return std::find(names.begin(), names.end(), op_type) != names.end();
}

bool is_layer(std::string_view op_type) {
    constexpr std::array names = {"Conv",   "ConvTranspose",      "Gemm",
                                  "MatMul", "BatchNormalization", "LayerNormalization",
                                  "PRelu",  "GroupNormalization", "InstanceNormalization"};
    return std::find(names.begin(), names.end(), op_type) != names.end();
}

void Converter::find_live_nodes() {
    std::map<std::string_view, int> producers;
    for (int i = 0; i < source_.node_size(); ++i) {
        for (const std::string& output : source_.node(i).output()) producers.emplace(output, i);
    }
    live_.assign(static_cast<size_t>(source_.node_size()), false);
    std::vector<std::string_view> open{source_.output(0).name()};
    while (!open.empty()) {
        read_.insert(open.back());
        const auto found = producers.find(open.back());
        open.pop_back();
        if (found == producers.end() || live_[static_cast<size_t>(found->second)]) continue;
        live_[static_cast<size_t>(found->second)] = true;
        for (const std::string& input : source_.node(found->second).input()) open.emplace_back(input);
    }
}

bool Converter::is_read(const NodeView& node, int output) const {
    return output < node.proto().output_size() && read_.contains(node.proto().output(output));
}

bool Converter::is_network_output(const NodeView& node) const {
    return node.proto().output_size() > 0 && node.proto().output(0) == source_.output(0).name();
}

void Converter::check_operators() const {
    std::map<std::string, std::pair<int, std::string>> unsupported;
    for (int i = 0; i < source_.node_size(); ++i) {
        if (!live_[static_cast<size_t>(i)]) continue;
        const NodeView node(source_.node(i), i, opset_);
        const std::string& domain = node.proto().domain();
        const bool standard = domain.empty() || domain == "ai.onnx";
        if (standard && (find_operator(node.type()) != nullptr || foldable(node.type()))) continue;
        auto& [count, nodes] = unsupported[standard ? node.type() : domain + "." + node.type()];
        constexpr int most_names = 3;
        if (count < most_names) nodes += fmt::format("{}'{}'", count == 0 ? "" : ", ", node.name());
        if (count == most_names) nodes += ", ...";
        ++count;
    }
    if (unsupported.empty()) return;
    std::string list;
    for (const auto& [type, found] : unsupported)
        list += fmt::format("{}{} ({} at {})", list.empty() ? "" : "; ", type, found.first, found.second);
    refuse("unsupported operators: {}", list);
}

/// Constant nodes whose tensors a layer takes, as some converters write all weights. In a file whose layers
/// take no initialisers, every Constant node counts.
void Converter::find_constant_weights() {
    std::map<std::string_view, const proto::NodeProto*> constants;
    std::map<std::string_view, std::string_view> came_from;
    bool from_initializers = false, from_constants = false;
    for (int i = 0; i < source_.node_size(); ++i) {
        const proto::NodeProto& node = source_.node(i);
        if (!live_[static_cast<size_t>(i)] || node.output_size() == 0) continue;
        if (node.op_type() == "Constant" && node.attribute_size() == 1 && node.attribute(0).has_t() &&
            is_real_type(node.attribute(0).t().data_type()))
            constants.emplace(node.output(0), &node);
        if (node.input_size() == 0) continue;
        if (rearranges(node.op_type()) || node.op_type() == "Cast" || node.op_type() == "CastLike")
            came_from.emplace(node.output(0),
                              came_from.contains(node.input(0)) ? came_from[node.input(0)] : node.input(0));
        for (int at = node.op_type() == "MatMul" ? 0 : 1; is_layer(node.op_type()) && at < node.input_size();
             ++at) {
            const std::string_view name =
                came_from.contains(node.input(at)) ? came_from[node.input(at)] : node.input(at);
            if (constants.contains(name)) {
                constant_weights_.emplace(name);
                from_constants = true;
            }
            from_initializers = from_initializers || initializers_.contains(name);
        }
    }
    if (!from_constants || from_initializers) return;
    for (const auto& [name, node] : constants) constant_weights_.emplace(name);
}

/// Whether the images go through a transposition from N x H x W x C to N x C x H x W before anything but
/// element-wise operators sees them, and then into a layer over maps.
bool Converter::input_is_nhwc() const {
    constexpr std::array elementwise = {"Cast", "Identity", "Add", "Sub", "Mul", "Div", "Neg", "Clip", "Pad"};
    constexpr std::array on_maps = {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool",
                                    "BatchNormalization"};
    const auto among = [](const auto& names, std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    std::set<std::string_view> images{input_}, turned;
    bool found = false;
    for (int i = 0; i < source_.node_size(); ++i) {
        const proto::NodeProto& node = source_.node(i);
        const bool takes = std::any_of(node.input().begin(), node.input().end(),
                                       [&](const std::string& name) { return images.contains(name); });
        if (!takes || !live_[static_cast<size_t>(i)] || node.op_type() == "Shape") continue;
        const bool of_turned = std::any_of(node.input().begin(), node.input().end(),
                                           [&](const std::string& name) { return turned.contains(name); });
        const bool turns = node.op_type() == "Transpose" && !of_turned &&
                           NodeView(node, i, opset_).integers("perm") == std::vector<int64_t>{0, 3, 1, 2};
        found = found || (of_turned && among(on_maps, node.op_type()));
        if (!turns && !among(elementwise, node.op_type())) {
            if (!of_turned) return false;
            continue;
        }
        for (const std::string& output : node.output()) {
            images.insert(output);
            if (turns || of_turned) turned.insert(output);
        }
    }
    return found;
}

std::string Converter::left_out() const {
    int nodes = 0, initializers = 0, results = 0;
    std::string what;
    const auto count = [&](int many, std::string_view one, std::string_view more) {
        if (many > 0) what += fmt::format("{}{} {}", what.empty() ? "" : ", ", many, many == 1 ? one : more);
    };
    for (int i = 0; i < source_.node_size(); ++i) {
        const proto::NodeProto& node = source_.node(i);
        nodes += live_[static_cast<size_t>(i)] ? 0 : 1;
        for (int at = 1; at < node.output_size() && live_[static_cast<size_t>(i)]; ++at)
            results += node.output(at).empty() || read_.contains(node.output(at)) ? 0 : 1;
    }
    for (const proto::TensorProto& tensor : source_.initializer())
        initializers += read_.contains(tensor.name()) ? 0 : 1;
    count(nodes, "node", "nodes");
    count(initializers, "initialiser", "initialisers");
    count(results, "further result", "further results");
    return what.empty() ? what : fmt::format("left out, because the output does not need them: {}", what);
}

}  // namespace enmesh::onnx
