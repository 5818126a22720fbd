#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cpu/lowering.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::cpu {

/// One FF, BP or WG product of a convolution (or of a linear layer seen as one), by slots.
struct ConvolutionCommand {
    products::Stage stage = products::Stage::ff;
    products::Conv conv;
    int src = -1, diff_dst = -1, weights = -1, bias = -1, out = -1;
    bool relu = false;  ///< FF in the image layout: out = max(0, product)
};

/// What it reads.
std::vector<int> operand_slots(const ConvolutionCommand& command);
Kind kind_of(products::Stage stage);

products::Conv geometry(const Conv2d& op, const Shape& src, const Shape& weights);

/// Chooses who serves it (oneDNN in the channel layout, enmesh::products in the image layout or for N:M
/// operands), books workspace and prepared weights, and appends the command.
void add_convolution(Machine& machine, const Node& node, const ConvolutionCommand& command);

using Trials =
    std::vector<std::function<void()>>;  ///< each prepares its weights if they change, and runs once

/// Which of `names` serves `product`: as planned, as measured before, or measured now with the trials that
/// `make_trials` gives, one a name; the first where nothing is known and nothing may be measured.
std::string choose_by_name(Machine& machine, const std::string& product,
                           const std::vector<std::string>& names, const std::function<Trials()>& make_trials);

/// To be run when `weights` (a slot) have changed: after each update, or before each run of the last command
/// if the step itself produces them.
void prepare_with(Machine& machine, int weights, std::function<void()> prepare);

/// The same for a linear layer with an N:M operand, on row-major matrices: enmesh::products, or a dense gemm
/// that fills the zeros in (matrix_product.hpp).
void add_matrix_product(Machine& machine, const Node& node, const ConvolutionCommand& command);

}  // namespace enmesh::cpu
