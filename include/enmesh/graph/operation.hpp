#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "enmesh/graph/attributes.hpp"
#include "enmesh/tensor/value_type.hpp"

namespace enmesh {

/// Part of a training step: forward, data gradient, weight gradient, weight update.
enum class Stage : uint8_t { FF, BP, WG, WU };
std::string to_string(Stage stage);

/// Index of a value in its graph.
struct ValueId {
    int index = -1;
    bool valid() const { return index >= 0; }
    friend auto operator<=>(const ValueId&, const ValueId&) = default;
};

/// What an operation costs, for the whole batch, dense unless an operand is N:M along the reduction.
struct OperationCount {
    int64_t multiply_adds = 0;         ///< of the product as if dense
    int64_t sparse_multiply_adds = 0;  ///< of the product as executed
    int64_t elements = 0;              ///< element-wise results, for everything that is not a product
};

struct Operation;

/// What a gradient rule sees of its node, and how it adds nodes to the step.
class GradientBuilder {
  public:
    virtual ~GradientBuilder() = default;
    virtual ValueId input(int index) const = 0;
    virtual int input_count() const = 0;
    virtual ValueId output(int index) const = 0;
    virtual const ValueType& type(ValueId value) const = 0;
    /// The accumulated gradient of an output; every consumer's share is in it.
    virtual ValueId gradient(int output = 0) = 0;
    /// Whether anything before this input needs its gradient.
    virtual bool wanted(int input) const = 0;
    /// Adds a node of this layer; returns its outputs.
    virtual std::vector<ValueId> emit(Stage stage, const Operation& operation,
                                      std::vector<ValueId> inputs) = 0;
    ValueId emit_one(Stage stage, const Operation& operation, std::vector<ValueId> inputs) {
        return emit(stage, operation, std::move(inputs)).front();
    }
    /// Hands `gradient` to whatever produced the input; shares of several uses are summed.
    virtual void contribute(int input, ValueId gradient) = 0;
};

// Every operation is a struct of attributes in enmesh/graph/ops/NAME.hpp with
//
//   static constexpr std::string_view name;
//   static constexpr auto fields();                          // see attributes.hpp
//   bool operator==(const Op&) const = default;
//   std::vector<ValueType> infer(std::span<const ValueType>) const;  // shape rule; refuses impossible inputs
//   void differentiate(GradientBuilder&) const;              // only where a gradient can pass
//   OperationCount count(inputs, outputs) const;             // only where it is not one pass over the outputs
//   static constexpr std::array<int, 2> in_place = {output, input};  // only where an output is its input,
//                                                            // updated
//
// and one line in operations.hpp.

}  // namespace enmesh
