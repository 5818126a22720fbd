#pragma once

#include <string>

#include "enmesh/onnx/export.hpp"
#include "onnx/messages.hpp"

namespace enmesh::onnx {

/// f32 and i64 tensors.
void write_tensor(proto::TensorProto& to, const std::string& name, const Tensor& tensor);

/// The value's elements; refuses another shape, fails on what is not finite.
Tensor checked_weights(const TensorSource& weights, const Value& value);

}  // namespace enmesh::onnx
