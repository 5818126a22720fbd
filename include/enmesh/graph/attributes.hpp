#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "enmesh/base/pattern.hpp"
#include "enmesh/tensor/shape.hpp"
#include "enmesh/tensor/value_type.hpp"

namespace enmesh {

/// Names one member of an attribute struct. An operation lists its members once, in `static constexpr auto
/// fields()`; printing, hashing and serialising all follow from that list, equality from `= default`.
template <typename Owner, typename T>
struct Field {
    std::string_view name;
    T Owner::*member;
};

template <typename Owner, typename T>
constexpr Field<Owner, T> field(std::string_view name, T Owner::*member) {
    return {name, member};
}

/// visit(name, member value) for every field, in order.
template <typename Attributes, typename Visit>
constexpr void for_each_field(Attributes& attributes, const Visit& visit) {
    std::apply([&](const auto&... f) { (visit(f.name, attributes.*(f.member)), ...); },
               std::remove_const_t<Attributes>::fields());
}

std::string attribute_text(bool value);
std::string attribute_text(int64_t value);
std::string attribute_text(uint64_t value);
std::string attribute_text(double value);
std::string attribute_text(const std::string& value);
std::string attribute_text(const std::vector<int64_t>& value);
std::string attribute_text(const Shape& value);
std::string attribute_text(Pattern value);
std::string attribute_text(GroupAxis value);
template <size_t N>
std::string attribute_text(const std::array<int64_t, N>& value) {
    return attribute_text(std::vector<int64_t>(value.begin(), value.end()));
}
/// Enumerations of our own provide to_string.
template <typename Enum>
requires std::is_enum_v<Enum> std::string attribute_text(Enum value) { return to_string(value); }

/// "stride=2,2 padding=1,1,1,1": every field that differs from its default, in order.
template <typename Attributes>
std::string attributes_text(const Attributes& attributes) {
    [[maybe_unused]] const Attributes defaults{};
    std::string text;
    std::apply(
        [&](const auto&... f) {
            [[maybe_unused]] const auto print = [&](const auto& one) {
                if (attributes.*(one.member) == defaults.*(one.member)) return;
                text += (text.empty() ? "" : " ") + std::string(one.name) + "=" +
                        attribute_text(attributes.*(one.member));
            };
            (print(f), ...);
        },
        Attributes::fields());
    return text;
}

/// Equal attributes hash equally: derived from the printed form, which holds every field that is not at its
/// default.
template <typename Attributes>
size_t attributes_hash(const Attributes& attributes) {
    return std::hash<std::string>{}(attributes_text(attributes));
}

}  // namespace enmesh
