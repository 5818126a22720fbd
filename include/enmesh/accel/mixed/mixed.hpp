#pragma once

#include <memory>

#include "enmesh/accel/common/accelerator.hpp"

namespace enmesh::accel::mixed {

/// One machine made of two engines, each with its own memory. `first` runs FF, BP and the work between
/// products, `second` runs WG; the machine's own parameters mixed.ff, .bp, .wg and .vector change that. With
/// mixed.turns = "side by side" engines overlap as far as the step's dependences allow. Keys of an engine
/// begin with its name; its part of a schedule file is the table of that name. Cycles are of the first
/// engine's clock.
///
/// Refuses two engines of one name, and an engine that is a mixed machine itself.
std::unique_ptr<Accelerator> machine(std::unique_ptr<Accelerator> first, std::unique_ptr<Accelerator> second);

}  // namespace enmesh::accel::mixed
