#pragma once

#include <onnx.pb.h>

#include <map>
#include <string>
#include <vector>

namespace enmesh::testing {

/// The attributes of one operator: name and the type that it is asked for with.
using AttributeTypes = std::map<std::string, ::onnx::AttributeProto_AttributeType>;

/// Operators of the importer's tables that run on values computed from the images.
std::vector<std::string> operators_on_maps();
/// Operators that it folds where all inputs are known.
std::vector<std::string> operators_on_known_values();
/// Both, each once.
const std::vector<std::string>& known_operators();

/// From here on, notes what attributes the importer asks of each operator.
void learn_attributes();
/// What has been asked so far; empty for an operator that was not met.
const AttributeTypes& known_attributes(const std::string& op_type);

}  // namespace enmesh::testing
