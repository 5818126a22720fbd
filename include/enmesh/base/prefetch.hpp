#pragma once

#include <cstdint>

namespace enmesh {

/// Asks the processor for the cache line `count` elements behind `from`. It may lie outside of the array: the
/// address is a number here, because a pointer may not point there.
template <typename T>
inline void prefetch(const T* from, int64_t count) {
    const auto bytes = static_cast<uintptr_t>(count) * sizeof(T);
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + bytes));
}

}  // namespace enmesh
