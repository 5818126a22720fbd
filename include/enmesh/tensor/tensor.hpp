#pragma once

#include <memory>
#include <span>
#include <utility>

#include "enmesh/base/buffer.hpp"
#include "enmesh/tensor/dtype.hpp"
#include "enmesh/tensor/shape.hpp"

namespace enmesh {

/// A dense array in host memory, row-major, owned. Movable; copies are explicit (clone).
class Tensor {
  public:
    Tensor() = default;
    explicit Tensor(Shape shape, DType dtype = DType::f32)
        : shape_(std::move(shape)),
          dtype_(dtype),
          buffer_(static_cast<size_t>(shape_.elements()) * size_of(dtype)) {}

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
    Shape shape_;
    DType dtype_ = DType::f32;
    Buffer buffer_;
};

}  // namespace enmesh
