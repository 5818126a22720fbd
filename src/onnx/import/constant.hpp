#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
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
/// f32; `type` is what the file declares. `shape` is the constant's own: constants of several shapes share
/// elements, so that a copy takes no memory for them.
/// The file chooses types and counts. So elements are read only through members that refuse the wrong kind
/// and what lies outside: no operator can forget to check.
class Constant {
  public:
    Shape shape;
    int32_t type = proto::TensorProto_DataType_FLOAT;
    std::optional<Origin> origin;

    /// No elements: stands for a value of which only shape and type are asked.
    Constant() = default;
    /// As many values as the shape has elements.
    Constant(Shape shape_of, int32_t type_of, std::vector<int64_t> values);
    Constant(Shape shape_of, int32_t type_of, std::shared_ptr<const Tensor> values);

    bool real() const { return std::holds_alternative<std::shared_ptr<const Tensor>>(elements_); }
    int64_t elements() const { return shape.elements(); }

    /// All elements in row-major order; refuse elements of the other kind.
    const std::vector<int64_t>& integers() const;
    std::span<const float> reals() const;
    /// One element; refuse the other kind (`number` takes both) and what lies outside.
    int64_t integer(int64_t i) const;
    float real_number(int64_t i) const;
    double number(int64_t i) const {
        return real() ? double{real_number(i)} : static_cast<double>(integer(i));
    }

    /// The same elements under another shape of as many.
    Constant with_shape(Shape other) const;

  private:
    std::variant<std::monostate, std::shared_ptr<const std::vector<int64_t>>, std::shared_ptr<const Tensor>>
        elements_;
};

Constant integer_constant(Shape shape, std::vector<int64_t> values,
                          int32_t type = proto::TensorProto_DataType_INT64);
Constant real_constant(Shape shape, std::vector<float> values);

/// More axes than any network's values have.
constexpr size_t most_axes = 16;

/// The product of the extents; refuses more axes than `most_axes`, negative extents and products above
/// `most`, even where another extent is 0.
int64_t checked_elements(const std::vector<int64_t>& dims, int64_t most);
/// The same with each extent of 0 taken as 1: how often loops over the axes of an empty value may run.
int64_t checked_places(const std::vector<int64_t>& dims, int64_t most);

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

/// The last two axes back to front.
Constant mirrored(const Constant& constant);

/// Applies the inverse of the steps, last one first: from a value of the graph to the initialiser's elements.
Tensor undo(Tensor tensor, const std::vector<TensorStep>& steps, const Shape& initializer);

/// Axis counted from the front; refuses what is out of range.
int64_t normal_axis(int64_t axis, int rank);

}  // namespace enmesh::onnx
