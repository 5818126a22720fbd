#include "enmesh/tensor/dtype.hpp"

#include <array>
#include <utility>
#include <vector>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

struct DTypeRow {
    DType dtype;
    std::string_view name;
    size_t bytes;
};

constexpr std::array rows = {
    DTypeRow{DType::f32, "f32", 4}, DTypeRow{DType::bf16, "bf16", 2}, DTypeRow{DType::f16, "f16", 2},
    DTypeRow{DType::f64, "f64", 8}, DTypeRow{DType::i64, "i64", 8},   DTypeRow{DType::i32, "i32", 4},
    DTypeRow{DType::i8, "i8", 1},   DTypeRow{DType::u8, "u8", 1},     DTypeRow{DType::boolean, "bool", 1},
};

const DTypeRow& row_of(DType dtype) {
    for (const DTypeRow& row : rows) {
        if (row.dtype == dtype) return row;
    }
    assertion_failed("known dtype", __FILE__, __LINE__);
}

}  // namespace

size_t size_of(DType dtype) { return row_of(dtype).bytes; }

std::string to_string(DType dtype) { return std::string(row_of(dtype).name); }

DType parse_dtype(std::string_view name) {
    std::vector<std::string> known;
    for (const DTypeRow& row : rows) {
        if (row.name == name) return row.dtype;
        known.emplace_back(row.name);
    }
    refuse("unknown dtype '{}'{}", name, suggestion(name, known));
}

}  // namespace enmesh
