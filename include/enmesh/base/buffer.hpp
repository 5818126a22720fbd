#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace enmesh {

/// Owned memory aligned to 64 bytes, zero-filled; empty when default-constructed. Movable, not copyable.
class Buffer {
  public:
    static constexpr size_t alignment = 64;

    Buffer() = default;
    explicit Buffer(size_t bytes) : bytes_(bytes) {
        if (bytes == 0) return;
        data_.reset(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{alignment})));
        std::memset(data_.get(), 0, bytes);
    }

    size_t bytes() const { return bytes_; }
    void* data() { return data_.get(); }
    const void* data() const { return data_.get(); }
    template <typename T>
    std::span<T> as() {
        return {reinterpret_cast<T*>(data_.get()), bytes_ / sizeof(T)};
    }
    template <typename T>
    std::span<const T> as() const {
        return {reinterpret_cast<const T*>(data_.get()), bytes_ / sizeof(T)};
    }

  private:
    struct Free {
        void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{alignment}); }
    };
    std::unique_ptr<std::byte, Free> data_;
    size_t bytes_ = 0;
};

}  // namespace enmesh
