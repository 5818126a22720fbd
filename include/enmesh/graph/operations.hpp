#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "enmesh/graph/ops/activation.hpp"
#include "enmesh/graph/ops/add.hpp"
#include "enmesh/graph/ops/batch_norm.hpp"
#include "enmesh/graph/ops/concat.hpp"
#include "enmesh/graph/ops/conv2d.hpp"
#include "enmesh/graph/ops/cross_entropy.hpp"
#include "enmesh/graph/ops/dropout.hpp"
#include "enmesh/graph/ops/embedding.hpp"
#include "enmesh/graph/ops/expand.hpp"
#include "enmesh/graph/ops/layer_norm.hpp"
#include "enmesh/graph/ops/linear.hpp"
#include "enmesh/graph/ops/mask.hpp"
#include "enmesh/graph/ops/matmul.hpp"
#include "enmesh/graph/ops/multiply.hpp"
#include "enmesh/graph/ops/pack_nm.hpp"
#include "enmesh/graph/ops/pad.hpp"
#include "enmesh/graph/ops/pool.hpp"
#include "enmesh/graph/ops/reduce.hpp"
#include "enmesh/graph/ops/reshape.hpp"
#include "enmesh/graph/ops/slice.hpp"
#include "enmesh/graph/ops/softmax.hpp"
#include "enmesh/graph/ops/sum.hpp"
#include "enmesh/graph/ops/transpose.hpp"
#include "enmesh/graph/ops/unary.hpp"
#include "enmesh/graph/ops/update.hpp"

namespace enmesh {

/// Every operation there is: the one list that printing, hashing, shape inference, gradients and executors go
/// by.
using AnyOperation = std::variant<
    Accumulate, AdamWUpdate, Add, ApplyMask, AveragePool2d, AveragePool2dBackward, BatchNorm,
    BatchNormBackward, Concat, Conv2d, Conv2dBackwardData, Conv2dBackwardWeights, CrossEntropy,
    CrossEntropyBackward, Divide, Dropout, Embedding, EmbeddingBackward, Expand, ExponentialAverage, Gelu,
    GeluBackward, GlobalAveragePool, GlobalAveragePoolBackward, GradientNorm, LayerNorm, LayerNormBackward,
    Linear, LinearBackwardData, LinearBackwardWeights, MatMul, MaxPool2d, MaxPool2dBackward, Multiply, PackNm,
    Pad, Reduce, Relu, ReluBackward, Reshape, Scale, SelectMask, SgdUpdate, Slice, SliceBackward, Softmax,
    SoftmaxBackward, SrDecay, Subtract, SumExcept, SumTo, Transpose, Unary, UnaryBackward, UnpackNm>;

template <typename Op, typename List>
inline constexpr bool is_listed = false;
template <typename Op, typename... Listed>
inline constexpr bool is_listed<Op, std::variant<Listed...>> = (std::is_same_v<Op, Listed> || ...);

/// One of them. Copying, comparing and destroying are compiled once, in operations.cpp: as templates in every
/// file that holds a graph they took a third of the time to compile.
struct Operation {
    AnyOperation attributes;

    /// Implicit on purpose: add(Relu{}, …) reads well.
    template <typename Op>
    requires is_listed<Op, AnyOperation> Operation(Op op)  // NOLINT(google-explicit-constructor)
        : attributes(std::in_place_type<Op>, std::move(op)) {}
    Operation(const Operation& other);
    Operation(Operation&& other) noexcept;
    Operation& operator=(const Operation& other);
    Operation& operator=(Operation&& other) noexcept;
    ~Operation();

    friend bool operator==(const Operation& a, const Operation& b);
    template <typename Op>
    const Op* as() const {
        return std::get_if<Op>(&attributes);
    }
    template <typename Op>
    bool is() const {
        return as<Op>() != nullptr;
    }
};

std::string_view name(const Operation& operation);
/// "conv2d stride=2,2": the name and every attribute that differs from its default.
std::string to_string(const Operation& operation);
size_t hash(const Operation& operation);
std::vector<ValueType> infer(const Operation& operation, std::span<const ValueType> inputs);
/// Whether the operation has a gradient rule.
bool differentiable(const Operation& operation);
void differentiate(const Operation& operation, GradientBuilder& builder);
OperationCount count(const Operation& operation, std::span<const ValueType> inputs,
                     std::span<const ValueType> outputs);
/// {output, input} pairs where the output is the input's storage, updated.
std::vector<std::array<int, 2>> in_place(const Operation& operation);
/// Whether it is a matrix product in the sense of FF, BP and WG (conv2d, linear, matmul and their gradients).
bool is_product(const Operation& operation);

}  // namespace enmesh
