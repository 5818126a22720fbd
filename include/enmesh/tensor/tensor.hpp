#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/tensor/dtype.hpp"
#include "enmesh/tensor/shape.hpp"

namespace enmesh {

/// A dense array in host memory, row-major, owned. Movable; copies are explicit (clone). Threads may read one
/// at once.
class Tensor {
  public:
    Tensor() = default;
    explicit Tensor(Shape shape, DType dtype = DType::f32)
        : shape_(std::move(shape)),
          dtype_(dtype),
          buffer_(static_cast<size_t>(shape_.elements()) * size_of(dtype)) {}

    /// A copy of `values`, row-major, as many as the shape holds.
    static Tensor of(Shape shape, std::span<const float> values) {
        Tensor tensor(std::move(shape));
        require_elements(tensor, static_cast<int64_t>(values.size()));
        std::copy(values.begin(), values.end(), tensor.f32().begin());
        return tensor;
    }

    const Shape& shape() const { return shape_; }
    DType dtype() const { return dtype_; }
    int64_t elements() const { return shape_.elements(); }
    size_t bytes() const { return buffer_.bytes(); }
    bool empty() const { return buffer_.bytes() == 0; }

    void* data() { return buffer_.data(); }
    const void* data() const { return buffer_.data(); }
    /// The elements as T; the caller answers for T matching dtype().
    template <typename T>
    std::span<T> as() {
        return buffer_.as<T>();
    }
    template <typename T>
    std::span<const T> as() const {
        return buffer_.as<T>();
    }
    std::span<float> f32() { return as<float>(); }
    std::span<const float> f32() const { return as<float>(); }

    /// The one element of a float32 tensor of one. Refuses others.
    float item() const {
        if (dtype_ != DType::f32 || elements() != 1)
            refuse("a tensor of {} {} has no single float32 value", to_string(shape_), to_string(dtype_));
        return f32()[0];
    }

    Tensor clone() const {
        Tensor copy(shape_, dtype_);
        if (bytes() > 0) std::memcpy(copy.data(), data(), bytes());
        return copy;
    }
    /// The same elements under another shape of equal size.
    Tensor reshaped(Shape shape) && {
        shape_ = std::move(shape);
        return std::move(*this);
    }

  private:
    static void require_elements(const Tensor& tensor, int64_t count) {
        if (count != tensor.elements())
            refuse("{} values for a tensor of {}, which has {}", count, to_string(tensor.shape()),
                   tensor.elements());
    }

    Shape shape_;
    DType dtype_ = DType::f32;
    Buffer buffer_;
};

}  // namespace enmesh
