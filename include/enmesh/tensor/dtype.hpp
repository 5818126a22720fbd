#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace enmesh {

enum class DType : uint8_t { f32, bf16, f16, f64, i64, i32, i8, u8, boolean };

size_t size_of(DType dtype);
/// "f32", "bf16", … as in the command line.
std::string to_string(DType dtype);
/// Refuses an unknown name, naming the nearest.
DType parse_dtype(std::string_view name);

}  // namespace enmesh
