#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace enmesh {

/// Extents, outermost first (NCHW for feature maps). Rank 0 is a scalar of one element.
class Shape {
  public:
    Shape() = default;
    Shape(std::initializer_list<int64_t> dims) : dims_(dims) {}
    explicit Shape(std::vector<int64_t> dims) : dims_(std::move(dims)) {}

    int rank() const { return static_cast<int>(dims_.size()); }
    /// Negative axes count from the end.
    int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis < 0 ? axis + rank() : axis)]; }
    int64_t& operator[](int axis) { return dims_[static_cast<size_t>(axis < 0 ? axis + rank() : axis)]; }
    /// The product of the extents; refuses more than int64 can count.
    int64_t elements() const {
        int64_t count = 1;
        bool overflows = false;
        for (const int64_t dim : dims_) {
            if (dim == 0) return 0;
            overflows |= __builtin_mul_overflow(count, dim, &count);
        }
        if (overflows) refuse_elements();
        return count;
    }
    const std::vector<int64_t>& dims() const { return dims_; }
    auto begin() const { return dims_.begin(); }
    auto end() const { return dims_.end(); }

    friend bool operator==(const Shape&, const Shape&) = default;

  private:
    [[noreturn]] void refuse_elements() const;

    std::vector<int64_t> dims_;
};

/// "128x64x32x32"; "scalar" for rank 0.
std::string to_string(const Shape& shape);

}  // namespace enmesh
