#pragma once

#include <cstdint>

namespace enmesh::cuda {

constexpr int64_t tile = 128;       ///< rows and columns are padded with zeros to multiples of this
constexpr int64_t tile_depth = 64;  ///< the depth to a multiple of this

constexpr int64_t padded(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace enmesh::cuda
