#include "onnx/import/attributes.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::onnx {
namespace {

struct WithoutEffect {
    const char* op_type;
    const char* attribute;
};
constexpr WithoutEffect without_effect[] = {
    {"Cast", "saturate"},  // casts to 8-bit floats only, which are refused
    {"Cast", "round_mode"},
    {"CastLike", "saturate"},
    {"CastLike", "round_mode"},
    {"Dropout", "seed"},                     // enmesh counts its random numbers from its own seed
    {"GroupNormalization", "stash_type"},    // statistics are float32 or wider here
    {"LayerNormalization", "stash_type"},    //
    {"MaxPool", "storage_order"},            // of the second result, which is refused where it is read
    {"ReduceMax", "noop_with_empty_axes"},   // where the axes are given
    {"ReduceMean", "noop_with_empty_axes"},  //
    {"ReduceSum", "noop_with_empty_axes"},   //
    {"SplitToSequence", "keepdims"},         // where the sizes are given, which are required here
};

std::string value_text(const proto::AttributeProto& attribute) {
    switch (attribute.type()) {
        case proto::AttributeProto_AttributeType_INT:
            return fmt::format(" = {}", attribute.i());
        case proto::AttributeProto_AttributeType_FLOAT:
            return fmt::format(" = {}", attribute.f());
        case proto::AttributeProto_AttributeType_STRING:
            return fmt::format(" = '{}'", attribute.s());
        default:
            return "";
    }
}

}  // namespace

void require_all_read(const NodeView& node) {
    for (const proto::AttributeProto* const attribute : node.unread()) {
        const bool harmless =
            std::any_of(std::begin(without_effect), std::end(without_effect), [&](const WithoutEffect& row) {
                return node.type() == row.op_type && attribute->name() == row.attribute;
            });
        if (!harmless)
            refuse("attribute '{}'{} is not understood", attribute->name(), value_text(*attribute));
    }
}

}  // namespace enmesh::onnx
