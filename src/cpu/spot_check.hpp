#pragma once

#include "cpu/lowering.hpp"
#include "cpu/measure.hpp"
#include "enmesh/base/compare.hpp"

namespace enmesh::cpu {

/// Compares outputs of a product at random places with sums in double over the operands, one obvious loop
/// each: what the reference kernel would take minutes for in full.
Comparison spot_check(const TrialOperands& operands, std::span<const float> out, double tolerance,
                      int samples = 256);
/// The same on maps in another layout than the problem's.
Comparison spot_check(const TrialOperands& operands, std::span<const float> out, double tolerance,
                      int samples, Layout maps);

}  // namespace enmesh::cpu
