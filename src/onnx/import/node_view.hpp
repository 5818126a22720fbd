#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/base/error.hpp"
#include "onnx/messages.hpp"

namespace enmesh::onnx {

/// Where set, it is told of every attribute that an operator asks for: the fuzz target learns names and types
/// so, and needs no list of its own.
inline void (*attribute_asked)(std::string_view op_type, std::string_view attribute,
                               proto::AttributeProto_AttributeType type) = nullptr;

/// A node's attributes by name and type; an attribute of another type than the operator's is refused.
class NodeView {
  public:
    NodeView(const proto::NodeProto& node, int index, int64_t opset)
        : node_(&node), index_(index), opset_(opset) {}

    const proto::NodeProto& proto() const { return *node_; }
    int index() const { return index_; }
    int64_t opset() const { return opset_; }
    const std::string& type() const { return node_->op_type(); }
    /// The node's name, or what it makes where it has none.
    const std::string& name() const {
        return node_->name().empty() && node_->output_size() > 0 ? node_->output(0) : node_->name();
    }

    int inputs() const { return node_->input_size(); }
    bool has_input(int i) const { return i < node_->input_size() && !node_->input(i).empty(); }

    int64_t integer(std::string_view attribute, int64_t fallback) const {
        const auto* const found = find(attribute, proto::AttributeProto_AttributeType_INT);
        return found != nullptr ? found->i() : fallback;
    }
    double real(std::string_view attribute, double fallback) const {
        const auto* const found = find(attribute, proto::AttributeProto_AttributeType_FLOAT);
        return found != nullptr ? static_cast<double>(found->f()) : fallback;
    }
    std::string text(std::string_view attribute, std::string_view fallback) const {
        const auto* const found = find(attribute, proto::AttributeProto_AttributeType_STRING);
        return found != nullptr ? found->s() : std::string(fallback);
    }
    std::optional<std::vector<int64_t>> integers(std::string_view attribute) const {
        const auto* const found = find(attribute, proto::AttributeProto_AttributeType_INTS);
        if (found == nullptr) return std::nullopt;
        return std::vector<int64_t>(found->ints().begin(), found->ints().end());
    }
    std::optional<std::vector<float>> reals(std::string_view attribute) const {
        const auto* const found = find(attribute, proto::AttributeProto_AttributeType_FLOATS);
        if (found == nullptr) return std::nullopt;
        return std::vector<float>(found->floats().begin(), found->floats().end());
    }
    const proto::TensorProto* tensor(std::string_view attribute) const {
        const auto* const found = find(attribute, proto::AttributeProto_AttributeType_TENSOR);
        return found != nullptr ? &found->t() : nullptr;
    }
    bool has(std::string_view attribute) const { return seen(attribute) != nullptr; }

    /// Attributes that nobody has asked for yet.
    std::vector<const proto::AttributeProto*> unread() const {
        std::vector<const proto::AttributeProto*> result;
        for (const proto::AttributeProto& candidate : node_->attribute()) {
            if (std::find(read_.begin(), read_.end(), &candidate) == read_.end())
                result.push_back(&candidate);
        }
        return result;
    }

  private:
    const proto::AttributeProto* seen(std::string_view name) const {
        for (const proto::AttributeProto& candidate : node_->attribute()) {
            if (candidate.name() != name) continue;
            read_.push_back(&candidate);
            return &candidate;
        }
        return nullptr;
    }
    const proto::AttributeProto* find(std::string_view name, proto::AttributeProto_AttributeType type) const {
        if (attribute_asked != nullptr) attribute_asked(this->type(), name, type);
        const proto::AttributeProto* const found = seen(name);
        if (found != nullptr && found->type() != type)
            refuse("attribute '{}' has another type than the operator's", name);
        return found;
    }

    const proto::NodeProto* node_;
    int index_;
    int64_t opset_;
    mutable std::vector<const proto::AttributeProto*> read_;
};

}  // namespace enmesh::onnx
