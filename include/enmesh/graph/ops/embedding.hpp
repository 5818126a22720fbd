#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Rows of a table: indices (i32, any shape S), table V × D -> S × D. An index outside [0, V) is refused at
/// run time.
struct Embedding {
    static constexpr std::string_view name = "embedding";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const Embedding&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Inputs indices, diff_dst; the gradient of the whole table.
struct EmbeddingBackward {
    static constexpr std::string_view name = "embedding_backward";
    Shape table;

    static constexpr auto fields() { return std::tuple{field("table", &EmbeddingBackward::table)}; }
    bool operator==(const EmbeddingBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
