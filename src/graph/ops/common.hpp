#pragma once

#include <span>
#include <string_view>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/operations.hpp"
#include "enmesh/tensor/group_lines.hpp"

namespace enmesh {

inline void require_inputs(std::span<const ValueType> inputs, size_t least, size_t most) {
    if (inputs.size() >= least && inputs.size() <= most) return;
    refuse("{} inputs given, {} to {} expected", inputs.size(), least, most);
}

inline void require_rank(const ValueType& type, int rank, std::string_view what) {
    if (type.shape.rank() == rank) return;
    refuse("{} has shape {}, rank {} expected", what, to_string(type.shape), rank);
}

inline void require_same_shape(const ValueType& a, const ValueType& b, std::string_view what) {
    if (a.shape == b.shape) return;
    refuse("{}: shapes {} and {} differ", what, to_string(a.shape), to_string(b.shape));
}

inline void require_shape(const ValueType& type, const Shape& shape, std::string_view what) {
    if (type.shape == shape) return;
    refuse("{} has shape {}, {} expected", what, to_string(type.shape), to_string(shape));
}

/// A type of the same dtype, dense.
inline ValueType dense_type(Shape shape, DType dtype) { return {std::move(shape), dtype, {}}; }

/// Multiply-adds of a product of `dense` multiply-adds whose N:M operand is `operand`, if its groups run
/// along the product's reduction; any other sparsity counts as dense (design: an operand is N:M only where it
/// is reduced).
inline OperationCount product_count(int64_t dense, const ValueType& operand, GroupAxis reduction) {
    OperationCount result{dense, dense, 0};
    const NmSparsity* const sparse = operand.nm();
    if (sparse != nullptr && sparse->axis == reduction) {
        const int64_t length = group_lines(operand.shape, reduction).length, m = sparse->pattern.m;
        result.sparse_multiply_adds = dense / length * (length / m * sparse->pattern.n + length % m);
    }
    return result;
}

/// The same of BP, where either operand may be N:M along the output channels.
inline OperationCount backward_data_count(int64_t dense, const ValueType& diff_dst,
                                          const ValueType& weights) {
    return diff_dst.dense() ? product_count(dense, weights, GroupAxis::output_channels)
                            : product_count(dense, diff_dst, GroupAxis::gradient_channels);
}

/// `share` summed to the shape of an input that was broadcast.
inline ValueId sum_to(GradientBuilder& builder, ValueId share, int input) {
    const Shape shape = builder.type(builder.input(input)).shape;  // a copy: emitting moves the types
    if (builder.type(share).shape == shape) return share;
    return builder.emit_one(Stage::BP, SumTo{shape}, {share});
}

inline void contribute_summed(GradientBuilder& builder, int input, ValueId share) {
    builder.contribute(input, sum_to(builder, share, input));
}

}  // namespace enmesh
