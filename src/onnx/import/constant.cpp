#include "onnx/import/constant.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"

namespace enmesh::onnx {
namespace {

constexpr int64_t most_elements = int64_t{1} << 40;

struct TypeRow {
    int32_t type;
    const char* name;
    size_t bytes;
    bool real;
};

constexpr TypeRow type_table[] = {
    {proto::TensorProto_DataType_FLOAT, "float32", 4, true},
    {proto::TensorProto_DataType_DOUBLE, "float64", 8, true},
    {proto::TensorProto_DataType_FLOAT16, "float16", 2, true},
    {proto::TensorProto_DataType_BFLOAT16, "bfloat16", 2, true},
    {proto::TensorProto_DataType_INT64, "int64", 8, false},
    {proto::TensorProto_DataType_INT32, "int32", 4, false},
    {proto::TensorProto_DataType_INT16, "int16", 2, false},
    {proto::TensorProto_DataType_INT8, "int8", 1, false},
    {proto::TensorProto_DataType_UINT8, "uint8", 1, false},
    {proto::TensorProto_DataType_UINT16, "uint16", 2, false},
    {proto::TensorProto_DataType_UINT32, "uint32", 4, false},
    {proto::TensorProto_DataType_UINT64, "uint64", 8, false},
    {proto::TensorProto_DataType_BOOL, "bool", 1, false},
};

const TypeRow* row_of(int32_t type) {
    for (const TypeRow& row : type_table) {
        if (row.type == type) return &row;
    }
    return nullptr;
}

template <typename T>
T load(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

float half_of(int32_t type, uint16_t bits) {
    return type == proto::TensorProto_DataType_FLOAT16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
}

float real_at(int32_t type, const char* bytes) {
    if (type == proto::TensorProto_DataType_DOUBLE) return static_cast<float>(load<double>(bytes));
    return half_of(type, load<uint16_t>(bytes));
}

int64_t integer_at(int32_t type, const char* bytes) {
    switch (type) {
        case proto::TensorProto_DataType_INT64:
        case proto::TensorProto_DataType_UINT64:
            return load<int64_t>(bytes);
        case proto::TensorProto_DataType_INT32:
            return load<int32_t>(bytes);
        case proto::TensorProto_DataType_UINT32:
            return load<uint32_t>(bytes);
        case proto::TensorProto_DataType_INT16:
            return load<int16_t>(bytes);
        case proto::TensorProto_DataType_UINT16:
            return load<uint16_t>(bytes);
        case proto::TensorProto_DataType_INT8:
            return load<int8_t>(bytes);
        case proto::TensorProto_DataType_BOOL:
            return load<uint8_t>(bytes) != 0 ? 1 : 0;
        default:
            return load<uint8_t>(bytes);
    }
}

Constant from_raw(const proto::TensorProto& tensor, const TypeRow& row, int64_t count, Shape shape) {
    const char* const bytes = tensor.raw_data().data();
    if (row.real) {
        auto reals = std::make_shared<Tensor>(shape);
        const std::span<float> values = reals->f32();
        if (row.type == proto::TensorProto_DataType_FLOAT) {
            if (count > 0) std::memcpy(values.data(), bytes, values.size_bytes());
        } else {
            for (size_t i = 0; i < values.size(); ++i) values[i] = real_at(row.type, bytes + i * row.bytes);
        }
        return {std::move(shape), row.type, std::move(reals)};
    }
    std::vector<int64_t> integers(static_cast<size_t>(count));
    for (size_t i = 0; i < integers.size(); ++i) integers[i] = integer_at(row.type, bytes + i * row.bytes);
    return {std::move(shape), row.type, std::move(integers)};
}

void require_count(const proto::TensorProto& tensor, int64_t stored, int64_t expected) {
    if (stored != expected)
        refuse("tensor '{}' has {} elements, its shape takes {}", tensor.name(), stored, expected);
}

/// Elements in the message's typed fields.
Constant from_fields(const proto::TensorProto& tensor, const TypeRow& row, int64_t count, Shape shape) {
    if (row.real) {
        const bool wide = row.type == proto::TensorProto_DataType_DOUBLE;
        const bool narrow = row.bytes == 2;  // halves travel as integers
        const int stored = wide     ? tensor.double_data_size()
                           : narrow ? tensor.int32_data_size()
                                    : tensor.float_data_size();
        require_count(tensor, stored, count);
        auto reals = std::make_shared<Tensor>(shape);
        const std::span<float> values = reals->f32();
        for (int i = 0; i < stored; ++i) {
            values[static_cast<size_t>(i)] =
                wide     ? static_cast<float>(tensor.double_data(i))
                : narrow ? half_of(row.type, static_cast<uint16_t>(tensor.int32_data(i)))
                         : tensor.float_data(i);
        }
        return {std::move(shape), row.type, std::move(reals)};
    }
    std::vector<int64_t> integers;
    if (row.type == proto::TensorProto_DataType_INT64) {
        require_count(tensor, tensor.int64_data_size(), count);
        integers.assign(tensor.int64_data().begin(), tensor.int64_data().end());
    } else if (row.type == proto::TensorProto_DataType_UINT64 ||
               row.type == proto::TensorProto_DataType_UINT32) {
        require_count(tensor, tensor.uint64_data_size(), count);
        for (const uint64_t value : tensor.uint64_data()) integers.push_back(static_cast<int64_t>(value));
    } else {
        require_count(tensor, tensor.int32_data_size(), count);
        integers.assign(tensor.int32_data().begin(), tensor.int32_data().end());
    }
    return {std::move(shape), row.type, std::move(integers)};
}

std::vector<int64_t> strides_of(const Shape& shape) {
    std::vector<int64_t> strides(static_cast<size_t>(shape.rank()), 1);
    for (int axis = shape.rank() - 2; axis >= 0; --axis)
        strides[static_cast<size_t>(axis)] = strides[static_cast<size_t>(axis) + 1] * shape[axis + 1];
    return strides;
}

template <typename T>
void transpose_elements(std::span<const T> src, std::span<T> dst, const Shape& from, const Shape& to,
                        const std::vector<int64_t>& order) {
    const std::vector<int64_t> strides = strides_of(from);
    std::vector<int64_t> index(order.size(), 0);
    int64_t at = 0;
    for (T& element : dst) {
        element = src[static_cast<size_t>(at)];
        for (size_t axis = order.size(); axis-- > 0;) {
            const int64_t stride = strides[static_cast<size_t>(order[axis])];
            at += stride;
            if (++index[axis] < to[static_cast<int>(axis)]) break;
            at -= stride * index[axis];
            index[axis] = 0;
        }
    }
}

Shape permuted(const Shape& shape, const std::vector<int64_t>& order) {
    std::vector<int64_t> dims;
    for (const int64_t axis : order) dims.push_back(shape[static_cast<int>(axis)]);
    return Shape(std::move(dims));
}

std::vector<int64_t> inverse(const std::vector<int64_t>& order) {
    std::vector<int64_t> result(order.size());
    for (size_t i = 0; i < order.size(); ++i) result[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
    return result;
}

Tensor transposed(const Tensor& tensor, const Shape& shape, const std::vector<int64_t>& order) {
    Tensor result(permuted(shape, order));
    transpose_elements(tensor.f32(), result.f32(), shape, result.shape(), order);
    return result;
}

/// The last two axes back to front: each plane's elements in reverse.
Tensor mirrored(const Tensor& tensor) {
    const Shape shape = tensor.shape();
    Tensor result(shape);
    const auto plane = static_cast<ptrdiff_t>(shape[-1] * shape[-2]);
    const std::span<const float> src = tensor.f32();
    for (ptrdiff_t at = 0; at < static_cast<ptrdiff_t>(src.size()); at += plane)
        std::reverse_copy(src.begin() + at, src.begin() + at + plane, result.f32().begin() + at);
    return result;
}

/// Every copy carries the steps before it, so a long chain of rearrangements would grow with its square.
void note_step(Constant& constant, TensorStep step) {
    constexpr size_t most_steps = 64;
    if (!constant.origin.has_value()) return;
    if (constant.origin->steps.size() == most_steps)
        refuse("an initialiser is rearranged more than {} times", most_steps);
    constant.origin->steps.push_back(std::move(step));
}

}  // namespace

Constant::Constant(Shape shape_of, int32_t type_of, std::vector<int64_t> values)
    : shape(std::move(shape_of)), type(type_of) {
    ENMESH_ASSERT(shape.elements() == static_cast<int64_t>(values.size()));
    elements_ = std::make_shared<const std::vector<int64_t>>(std::move(values));
}

Constant::Constant(Shape shape_of, int32_t type_of, std::shared_ptr<const Tensor> values)
    : shape(std::move(shape_of)), type(type_of) {
    ENMESH_ASSERT(shape.elements() == values->elements());
    elements_ = std::move(values);
}

const std::vector<int64_t>& Constant::integers() const {
    const auto* const found = std::get_if<std::shared_ptr<const std::vector<int64_t>>>(&elements_);
    if (found == nullptr) refuse("{} where integers are expected", type_name(type));
    return **found;
}

std::span<const float> Constant::reals() const {
    if (!real()) refuse("{} where float numbers are expected", type_name(type));
    return std::get<std::shared_ptr<const Tensor>>(elements_)->f32();
}

int64_t Constant::integer(int64_t i) const {
    const std::vector<int64_t>& all = integers();
    if (i < 0 || i >= static_cast<int64_t>(all.size())) refuse("element {} of {}", i, all.size());
    return all[static_cast<size_t>(i)];
}

float Constant::real_number(int64_t i) const {
    const std::span<const float> all = reals();
    if (i < 0 || i >= static_cast<int64_t>(all.size())) refuse("element {} of {}", i, all.size());
    return all[static_cast<size_t>(i)];
}

Constant Constant::with_shape(Shape other) const {
    if (other.elements() != elements())
        refuse("shape {} cannot become {}", to_string(shape), to_string(other));
    Constant result = *this;
    result.shape = std::move(other);
    return result;
}

Constant integer_constant(Shape shape, std::vector<int64_t> values, int32_t type) {
    return {std::move(shape), type, std::move(values)};
}

Constant real_constant(Shape shape, std::vector<float> values) {
    auto tensor = std::make_shared<Tensor>(shape);
    ENMESH_ASSERT(tensor->f32().size() == values.size());
    std::copy(values.begin(), values.end(), tensor->f32().begin());
    return {std::move(shape), proto::TensorProto_DataType_FLOAT, std::move(tensor)};
}

int64_t checked_places(const std::vector<int64_t>& dims, int64_t most) {
    int64_t count = 1;
    // Every value keeps its extents: a list of thousands could be many nodes' shape.
    if (dims.size() > most_axes) refuse("a shape of {} axes", dims.size());
    for (const int64_t dim : dims) {
        if (dim < 0) refuse("shape {} has a negative extent", to_string(Shape(dims)));
    }
    for (const int64_t dim : dims) {
        if (dim > most / count) refuse("shape {} is too large", to_string(Shape(dims)));
        count *= std::max<int64_t>(dim, 1);
    }
    return count;
}

int64_t checked_elements(const std::vector<int64_t>& dims, int64_t most) {
    const int64_t count = checked_places(dims, most);
    return std::find(dims.begin(), dims.end(), 0) != dims.end() ? 0 : count;
}

uint64_t tensor_bytes(const proto::TensorProto& tensor) {
    const TypeRow* const row = row_of(tensor.data_type());
    if (row == nullptr)
        refuse("tensor '{}' has elements of type {}, which is not understood", tensor.name(),
               tensor.data_type());
    if (tensor.dims_size() > static_cast<int>(most_axes))
        refuse("tensor '{}' has {} axes", tensor.name(), tensor.dims_size());
    try {
        const int64_t count = checked_elements({tensor.dims().begin(), tensor.dims().end()}, most_elements);
        return static_cast<uint64_t>(count) * row->bytes;
    } catch (const Error& error) {
        refuse("tensor '{}': {}", tensor.name(), error.what());
    }
}

Constant read_constant(const proto::TensorProto& tensor) {
    const uint64_t bytes = tensor_bytes(tensor);
    const TypeRow& row = *row_of(tensor.data_type());
    const auto count = static_cast<int64_t>(bytes / row.bytes);
    Shape shape(std::vector<int64_t>(tensor.dims().begin(), tensor.dims().end()));
    if (tensor.has_segment()) refuse("tensor '{}' is stored in segments", tensor.name());
    const int64_t stored = int64_t{tensor.float_data_size()} + tensor.double_data_size() +
                           tensor.int32_data_size() + tensor.int64_data_size() + tensor.uint64_data_size();
    if (tensor.has_raw_data() && stored > 0)
        refuse("tensor '{}' has its elements twice, as bytes and as numbers", tensor.name());
    if (tensor.has_raw_data()) {
        if (tensor.raw_data().size() != bytes) {
            refuse("tensor '{}' has {} bytes, its shape takes {}", tensor.name(), tensor.raw_data().size(),
                   bytes);
        }
        return from_raw(tensor, row, count, std::move(shape));
    }
    // Counts are compared before anything of the declared size is made.
    require_count(tensor, stored, count);
    return from_fields(tensor, row, count, std::move(shape));
}

std::string type_name(int32_t type) {
    const TypeRow* const row = row_of(type);
    return row != nullptr ? row->name : fmt::format("type {}", type);
}

bool is_real_type(int32_t type) {
    const TypeRow* const row = row_of(type);
    return row != nullptr && row->real;
}

Constant reshaped(const Constant& constant, Shape shape) {
    if (shape == constant.shape) return constant;
    Constant result = constant.with_shape(std::move(shape));
    note_step(result, {{}, result.shape});
    return result;
}

Constant transposed(const Constant& constant, const std::vector<int64_t>& order) {
    const Shape shape = permuted(constant.shape, order);
    Constant result;
    if (constant.real()) {
        auto reals = std::make_shared<Tensor>(shape);
        transpose_elements(constant.reals(), reals->f32(), constant.shape, shape, order);
        result = Constant(shape, constant.type, std::move(reals));
    } else {
        std::vector<int64_t> integers(constant.integers().size());
        transpose_elements<int64_t>(constant.integers(), integers, constant.shape, shape, order);
        result = Constant(shape, constant.type, std::move(integers));
    }
    result.origin = constant.origin;
    note_step(result, {order, {}});
    return result;
}

Constant mirrored(const Constant& constant) {
    Tensor src(constant.shape);
    const std::span<const float> values = constant.reals();
    std::copy(values.begin(), values.end(), src.f32().begin());
    Constant result(constant.shape, constant.type, std::make_shared<Tensor>(mirrored(src)));
    result.origin = constant.origin;
    note_step(result, {{}, {}, true});
    return result;
}

Tensor undo(Tensor tensor, const std::vector<TensorStep>& steps, const Shape& initializer) {
    // Each reshape is undone to the shape that came before it: replayed from the initialiser's.
    std::vector<Shape> before{initializer};
    for (const TensorStep& step : steps)
        before.push_back(step.mirrored        ? before.back()
                         : step.order.empty() ? step.shape
                                              : permuted(before.back(), step.order));
    for (size_t i = steps.size(); i-- > 0;) {
        tensor = steps[i].mirrored        ? mirrored(tensor)
                 : steps[i].order.empty() ? std::move(tensor).reshaped(before[i])
                                          : transposed(tensor, tensor.shape(), inverse(steps[i].order));
    }
    return tensor;
}

int64_t normal_axis(int64_t axis, int rank) {
    if (axis < -rank || axis >= rank) refuse("axis {} is out of range for rank {}", axis, rank);
    return axis < 0 ? axis + rank : axis;
}

}  // namespace enmesh::onnx
