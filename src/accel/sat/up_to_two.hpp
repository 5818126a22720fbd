#pragma once

#include <array>
#include <cstddef>

namespace enmesh::accel::sat {

/// One or two values, without allocation: what ends or crosses an edge often comes in two kinds.
template <typename T>
class UpToTwo {
  public:
    explicit UpToTwo(const T& one) : items_{one, {}}, count_(1) {}
    UpToTwo(const T& one, const T& two) : items_{one, two}, count_(2) {}
    const T* begin() const { return items_.data(); }
    const T* end() const { return items_.data() + count_; }

  private:
    std::array<T, 2> items_;
    size_t count_;
};

}  // namespace enmesh::accel::sat
