#pragma once

#include <span>
#include <string_view>

/// The table of vector work: what an operation between products costs on a machine with lanes and DRAM.
namespace enmesh::accel {

/// What a vector operation costs, per element of its main tensor. Origin: ours, derived in docs/sat.md.
struct VectorCost {
    std::string_view name;
    int passes = 1;  ///< sweeps over the tensor that cannot be merged
    int lane_ops =
        1;  ///< multiply-add slots over all passes; exp, division and root count `special_lane_ops`
    int read_bytes = 0;   ///< DRAM bytes read: FP16 activations, FP32 masters, gradients and state
    int write_bytes = 0;  ///< DRAM bytes written
};
inline constexpr int special_lane_ops = 8;

/// The table, one row an operation, names ascending.
std::span<const VectorCost> vector_costs();
/// The row of `name`; refuses an unknown one with the nearest.
const VectorCost& vector_cost(std::string_view name);

}  // namespace enmesh::accel
