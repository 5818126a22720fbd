#pragma once

#include <memory>

#include "enmesh/step/executor.hpp"

namespace enmesh {

/// The oracle: every operation as plain loops over row-major tensors, accumulated in double, one node after
/// the other; products visit only what their N:M operand stores. Every value can be read.
///
/// `storage` is how real values are kept between nodes: f32 as a fast executor keeps them, or f64, with which
/// write() also takes f64 tensors for f32 values and read() gives them back (central differences need it).
std::unique_ptr<Executor> make_reference_executor(TrainingStep step, DType storage = DType::f32);

}  // namespace enmesh
