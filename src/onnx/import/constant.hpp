#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "enmesh/onnx/import.hpp"
#include "enmesh/tensor/tensor.hpp"
#include "onnx/messages.hpp"

namespace enmesh::onnx {

/// Which initialiser a constant is, and what has been done to its elements since: only reordering and
/// reshaping, so that the way back is known.
struct Origin {
    int initializer = -1;
    std::vector<TensorStep> steps;
};

/// A value that is known while the file is read. Integers and booleans are kept as int64, every float type as
/// f32; `type` is what the file declares. `shape` is the constant's own: constants of several shapes may
/// share `reals`.
struct Constant {
    Shape shape;
    int32_t type = proto::TensorProto_DataType_FLOAT;
    std::vector<int64_t> integers;
    std::shared_ptr<const Tensor> reals;
    std::optional<Origin> origin;

    bool real() const { return reals != nullptr; }
    int64_t elements() const { return shape.elements(); }
    double number(int64_t i) const {
        return real() ? static_cast<double>(reals->f32()[static_cast<size_t>(i)])
                      : static_cast<double>(integers[static_cast<size_t>(i)]);
    }
};

Constant integer_constant(Shape shape, std::vector<int64_t> values,
                          int32_t type = proto::TensorProto_DataType_INT64);
Constant real_constant(Shape shape, std::vector<float> values);

/// The product of the extents; refuses negative ones and products above `most`.
int64_t checked_elements(const std::vector<int64_t>& dims, int64_t most);

/// Bytes that the tensor's elements take: refuses types whose elements are no numbers, and impossible shapes.
uint64_t tensor_bytes(const proto::TensorProto& tensor);

/// The tensor's elements; refuses one whose bytes disagree with its shape, and types that are not understood.
Constant read_constant(const proto::TensorProto& tensor);

/// "float32", "int64", …
std::string type_name(int32_t type);
bool is_real_type(int32_t type);

/// The same elements under another shape, with the step noted where the elements are an initialiser's.
Constant reshaped(const Constant& constant, Shape shape);
/// Axis i of the result is axis order[i].
Constant transposed(const Constant& constant, const std::vector<int64_t>& order);

/// Applies the inverse of the steps, last one first: from a value of the graph to the initialiser's elements.
Tensor undo(Tensor tensor, const std::vector<TensorStep>& steps, const Shape& initializer);

/// Axis counted from the front; refuses what is out of range.
int64_t normal_axis(int64_t axis, int rank);

}  // namespace enmesh::onnx
