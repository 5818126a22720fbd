#pragma once

#include <onnx.pb.h>

namespace enmesh::onnx {

/// The generated messages, apart from our own names.
namespace proto = ::onnx;

using DataType = proto::TensorProto_DataType;

}  // namespace enmesh::onnx
