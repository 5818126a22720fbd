#include "fuzz/known_operators.hpp"

#include <set>

#include "onnx/import/converter.hpp"
#include "onnx/import/fold.hpp"

namespace enmesh::testing {
namespace {

std::map<std::string, AttributeTypes, std::less<>>& learnt() {
    static std::map<std::string, AttributeTypes, std::less<>> attributes;
    return attributes;
}

}  // namespace

std::vector<std::string> operators_on_maps() {
    std::vector<std::string> names;
    for (const onnx::OperatorTable* const table : onnx::operator_tables()) {
        for (const auto& [name, convert] : *table) names.emplace_back(name);
    }
    return names;
}

std::vector<std::string> operators_on_known_values() {
    const std::vector<std::string_view> names = onnx::foldable_operators();
    return {names.begin(), names.end()};
}

const std::vector<std::string>& known_operators() {
    static const std::vector<std::string> names = [] {
        std::set<std::string> all;
        for (const std::string& name : operators_on_maps()) all.insert(name);
        for (const std::string& name : operators_on_known_values()) all.insert(name);
        return std::vector<std::string>(all.begin(), all.end());
    }();
    return names;
}

void learn_attributes() {
    onnx::attribute_asked = [](std::string_view op_type, std::string_view attribute,
                               ::onnx::AttributeProto_AttributeType type) {
        auto found = learnt().find(op_type);
        if (found == learnt().end()) found = learnt().emplace(op_type, AttributeTypes{}).first;
        found->second.emplace(attribute, type);
    };
}

const AttributeTypes& known_attributes(const std::string& op_type) {
    static const AttributeTypes none;
    const auto found = learnt().find(op_type);
    return found != learnt().end() ? found->second : none;
}

}  // namespace enmesh::testing
