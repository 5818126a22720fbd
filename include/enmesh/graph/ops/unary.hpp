#pragma once

#include "enmesh/graph/operation.hpp"
#include "enmesh/graph/unary_kind.hpp"

namespace enmesh {

std::string to_string(UnaryKind kind);

/// dst = f(src), element by element: see UnaryKind for what `a` and `b` mean.
struct Unary {
    static constexpr std::string_view name = "unary";
    UnaryKind kind = UnaryKind::none;
    double a = 0;
    double b = 0;

    static constexpr auto fields() {
        return std::tuple{field("kind", &Unary::kind), field("a", &Unary::a), field("b", &Unary::b)};
    }
    bool operator==(const Unary&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// diff_src = f'(src) * diff_dst. Inputs src, diff_dst.
struct UnaryBackward {
    static constexpr std::string_view name = "unary_backward";
    UnaryKind kind = UnaryKind::none;
    double a = 0;
    double b = 0;

    static constexpr auto fields() {
        return std::tuple{field("kind", &UnaryBackward::kind), field("a", &UnaryBackward::a),
                          field("b", &UnaryBackward::b)};
    }
    bool operator==(const UnaryBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
