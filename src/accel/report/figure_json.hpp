#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "enmesh/accel/report/report.hpp"

/// What the printers that write JSON share.
namespace enmesh::accel {

inline std::string pattern_text(const Product& product) {
    return product.is_sparse() ? to_string(product.pattern) : "dense";
}

/// A member for every figure.
inline void put_figures(nlohmann::ordered_json& json, std::span<const Figure> figures) {
    for (const Figure& figure : figures)
        std::visit([&](const auto& value) { json[std::string(figure.name)] = value; }, figure.value);
}

}  // namespace enmesh::accel
