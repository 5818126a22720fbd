#include "enmesh/graph/operations.hpp"

#include "enmesh/base/error.hpp"

namespace enmesh {

Operation::Operation(const Operation& other) = default;
Operation::Operation(Operation&& other) noexcept = default;
Operation& Operation::operator=(const Operation& other) = default;
Operation& Operation::operator=(Operation&& other) noexcept = default;
Operation::~Operation() = default;
bool operator==(const Operation& a, const Operation& b) { return a.attributes == b.attributes; }

namespace {

template <typename Op>
concept Differentiable = requires(const Op& op, GradientBuilder& builder) {
    op.differentiate(builder);
};
template <typename Op>
concept Counted = requires(const Op& op, std::span<const ValueType> types) {
    op.count(types, types);
};
template <typename Op>
concept InPlace = requires(const Op& op) {
    op.in_place();
};
template <typename Op>
concept Product = requires {
    requires Op::product;
};

}  // namespace

std::string to_string(Stage stage) {
    constexpr std::array names = {"FF", "BP", "WG", "WU"};
    return names[static_cast<size_t>(stage)];
}

std::string_view name(const Operation& operation) {
    return std::visit([](const auto& op) { return std::decay_t<decltype(op)>::name; }, operation.attributes);
}

std::string to_string(const Operation& operation) {
    const std::string attributes =
        std::visit([](const auto& op) { return attributes_text(op); }, operation.attributes);
    return std::string(name(operation)) + (attributes.empty() ? "" : " ") + attributes;
}

size_t hash(const Operation& operation) {
    const size_t attributes =
        std::visit([](const auto& op) { return attributes_hash(op); }, operation.attributes);
    return attributes * 31 + operation.attributes.index();
}

std::vector<ValueType> infer(const Operation& operation, std::span<const ValueType> inputs) {
    return std::visit([&](const auto& op) { return op.infer(inputs); }, operation.attributes);
}

bool differentiable(const Operation& operation) {
    return std::visit([]<typename Op>(const Op&) { return Differentiable<Op>; }, operation.attributes);
}

void differentiate(const Operation& operation, GradientBuilder& builder) {
    std::visit(
        [&]<typename Op>(const Op& op) {
            if constexpr (Differentiable<Op>) {
                op.differentiate(builder);
            } else {
                refuse("{} has no gradient", Op::name);
            }
        },
        operation.attributes);
}

OperationCount count(const Operation& operation, std::span<const ValueType> inputs,
                     std::span<const ValueType> outputs) {
    return std::visit(
        [&]<typename Op>(const Op& op) {
            if constexpr (Counted<Op>) {
                return op.count(inputs, outputs);
            } else {
                OperationCount result;
                for (const ValueType& output : outputs) result.elements += output.shape.elements();
                return result;
            }
        },
        operation.attributes);
}

std::vector<std::array<int, 2>> in_place(const Operation& operation) {
    return std::visit(
        []<typename Op>(const Op& op) -> std::vector<std::array<int, 2>> {
            if constexpr (InPlace<Op>) {
                return op.in_place();
            } else {
                return {};
            }
        },
        operation.attributes);
}

bool is_product(const Operation& operation) {
    return std::visit([]<typename Op>(const Op&) { return Product<Op>; }, operation.attributes);
}

}  // namespace enmesh
