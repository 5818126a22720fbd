#pragma once

#include "enmesh/accel/sat/stce/stce.hpp"

/// The closed form for products that differ in size only: a scheduler looks at each size of an axis once and
/// then puts sizes together.
namespace enmesh::accel::sat::detail {

/// Times that passes, tiles and drains are made of; the only place where the closed form knows latencies.
struct GroupTiming {
    int64_t round = 0;   ///< P: cycles between two products of one output, max(I, L)
    int64_t period = 0;  ///< g: cycles a group takes
    int64_t fill = 0;    ///< first latch fill
    int64_t skew = 0;    ///< WS row skew: a row's first sum is ready for the next row
};

struct Passes {
    int64_t steps = 0;     ///< group periods over all passes
    int64_t constant = 0;  ///< fill and drain over all passes, cycles
    int64_t total = 0;     ///< cycles
};

/// What cycles depend on of the sizes m, n and k of a product.
struct RowCut {
    int64_t tiles = 1;
    int64_t full_steps = 0, last_steps = 0;  ///< WS: group periods a row runs in a full and in the last tile
};
struct DepthCut {
    int64_t groups = 0;
    int64_t passes = 1;  ///< WS: reduction passes
};

/// One array setting: dataflow, groups and interleaving, for any size. The mapping must be legal.
class EngineForm {
  public:
    EngineForm(const Stce& stce, Pattern pattern, const EngineMapping& mapping) noexcept;

    RowCut rows(int64_t m) const noexcept;
    int64_t column_tiles(int64_t n) const noexcept;
    DepthCut depth(int64_t k) const noexcept;

    Passes passes(const RowCut& rows, int64_t column_tiles, const DepthCut& depth) const noexcept {
        return ws_ ? weight_stationary(rows, column_tiles, depth)
                   : output_stationary(rows, column_tiles, depth);
    }
    int64_t cycles(const RowCut& rows, int64_t column_tiles, const DepthCut& depth) const noexcept {
        return passes(rows, column_tiles, depth).total;
    }
    const GroupTiming& timing() const { return timing_; }

  private:
    Passes weight_stationary(const RowCut& rows, int64_t column_tiles, const DepthCut& depth) const noexcept;
    Passes output_stationary(const RowCut& rows, int64_t column_tiles, const DepthCut& depth) const noexcept;
    int64_t with_load(int64_t pass) const noexcept {
        return packed_sets_ >= 2 ? (pass > load_ ? pass : load_) : pass + load_;
    }

    bool ws_, dense_;
    int values_, group_;
    int64_t pixels_, array_rows_, tile_m_, columns_per_tile_;
    int packed_sets_, accumulator_sets_;
    GroupTiming timing_;
    int64_t constant_ = 0;  ///< fill and drain of one pass
    int64_t load_ = 0;      ///< WS: of one pass's packed groups
    int64_t drain_ = 0;     ///< OS: of one tile's sums
};

}  // namespace enmesh::accel::sat::detail
