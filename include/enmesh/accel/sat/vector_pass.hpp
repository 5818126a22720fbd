#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "enmesh/accel/sat/wuve.hpp"

/// The words that set WUVE and SORE up for one pass (bit fields: docs/sat.md, end of "A lane").
namespace enmesh::accel::sat {

/// What SORE compares: the FP32 masters, the FP16 values widened, or a byte of mask.
enum class RankSource { masters, values, mask };

struct VectorPass {
    std::string operation;       ///< a row of vector_costs(); empty: SORE alone, the lanes stand still
    Pattern pattern{};           ///< {0, 0}: none
    bool along_columns = false;  ///< an update packs FF's form
    bool along_rows = false;     ///< an update packs BP's form
    RankSource ranks = RankSource::masters;
    uint32_t elements = 0;  ///< of the main tensor; an update's rows (output channels); SORE's lines
    uint32_t columns = 0;   ///< an update's columns (input channels), else 0
    uint32_t rounds = 1;    ///< an update's kernel positions; values of a line of SORE alone
    std::array<float, 10> constants{};

    /// M x M tiles in the order of the weights; other operations take elements in order.
    bool updates_weights() const { return operation.ends_with("_update"); }
    bool packs() const { return operation.empty() || along_columns || along_rows; }

    friend bool operator==(const VectorPass&, const VectorPass&) = default;
};

using VectorWords = std::array<uint32_t, 14>;

/// Refuses what no machine can do: an unknown operation (with the nearest), packing without a pattern or by
/// anything but an update, zero elements, ranks or constants that nothing reads.
VectorWords encode(const VectorPass& pass);
/// Refuses words that no pass encodes to.
VectorPass decode(const VectorWords& words);

}  // namespace enmesh::accel::sat
