#pragma once

#include <string>
#include <variant>

#include "enmesh/base/pattern.hpp"
#include "enmesh/tensor/dtype.hpp"
#include "enmesh/tensor/shape.hpp"

namespace enmesh {

/// Which axis of an operand its N:M groups run along: always the reduction axis of the product that uses it.
enum class GroupAxis {
    input_channels,  ///< FF weights: axis 1 of KCRS (the last axis of a linear layer's KC), at a fixed kernel
                     ///< position
    output_channels,    ///< BP weights: axis 0 of KCRS (or KC), at a fixed input channel and kernel position
    gradient_channels,  ///< BP out-grads: the output channels of one position, axis 1 of NKHW, otherwise the
                        ///< last axis
    positions,  ///< WG out-grads: M consecutive positions of the flattened (n, oh, ow), at a fixed channel;
                ///< dense tail
};
std::string to_string(GroupAxis axis);

/// N of every M consecutive elements along `axis` are stored, with their indices.
struct NmSparsity {
    Pattern pattern;
    GroupAxis axis = GroupAxis::input_channels;
    friend bool operator==(const NmSparsity&, const NmSparsity&) = default;
};
/// A new kind is a new alternative: std::visit names each place that must know it.
using Sparsity = std::variant<std::monostate, NmSparsity>;

/// What is known of a value before anything runs. `shape` is the logical (dense) shape whatever the sparsity.
struct ValueType {
    Shape shape;
    DType dtype = DType::f32;
    Sparsity sparsity;

    friend bool operator==(const ValueType&, const ValueType&) = default;
    bool dense() const { return std::holds_alternative<std::monostate>(sparsity); }
    const NmSparsity* nm() const { return std::get_if<NmSparsity>(&sparsity); }
    /// Bytes it takes when stored: N:M values with one byte per index, and the dense tail. Refuses more than
    /// int64 can count.
    int64_t bytes() const;
};
/// "f32 128x64x32x32", "f32 64x64x3x3 2:8 along input channels".
std::string to_string(const ValueType& type);

}  // namespace enmesh
