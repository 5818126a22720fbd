#pragma once

#include <span>

#include "cpu/lowering.hpp"

namespace enmesh::cpu {

/// Rewrites a value of `width`-byte elements from one layout to another; shapes of rank >= 2 have channels on
/// axis 1.
void convert(const void* from, Layout from_layout, void* to, Layout to_layout, const Shape& shape,
             size_t width);

/// The dense, row-major form of an N:M value of the step.
void unpack_value(const products::Packed& packed, const ValueType& type, std::span<float> dense);

}  // namespace enmesh::cpu
