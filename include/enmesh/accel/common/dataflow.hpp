#pragma once

#include <cstdint>
#include <string>

namespace enmesh::accel {

/// Which operand of a product stays in the elements of a systolic array. A machine says which it runs.
enum class Dataflow : uint8_t {
    ws,  ///< weight-stationary: operands of one side stay, sums travel down
    os,  ///< output-stationary: sums stay, both operands travel
    is,  ///< input-stationary: the other side's operands stay
};
std::string to_string(Dataflow dataflow);

}  // namespace enmesh::accel
