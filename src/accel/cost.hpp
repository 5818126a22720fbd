#pragma once

#include "enmesh/accel/schedule.hpp"
#include "enmesh/base/arithmetic.hpp"

/// The cost model's inner parts, shared by cost() and the search.
namespace enmesh::accel::detail {

/// An axis cut into `count` tiles, the last one of `last` elements.
struct Axis {
    int64_t tile = 1, count = 1, last = 1;
};
Axis cut(int64_t size, int64_t tile);

/// Engine cycles of a tile by which of its sides are the last of their axis: index 4·(m last) + 2·(n last) +
/// (k last). Only the combinations that occur are filled in.
struct EngineTable {
    Axis m, n, k;
    std::array<EngineCycles, 8> tile;
    int64_t total = 0;  ///< engine cycles over all tiles

    int64_t times(size_t i) const;                           ///< how often tile i occurs
    EngineProduct part(const Piece& piece, size_t i) const;  ///< its product
};
EngineTable engine_table(const SatConfig& config, const Piece& piece, const Mapping& mapping);

/// Cycles and traffic of one repeat of a piece, without the pass of Pack::ahead.
struct Timing {
    int64_t engine = 0, bandwidth = 0, packing = 0;
    double read_bytes = 0, write_bytes = 0;
    double packed_values = 0;  ///< values that SORE took in

    int64_t cycles() const { return engine + bandwidth + packing; }
};
Timing timing(const SatConfig& config, const Piece& piece, const Mapping& mapping, const EngineTable& table);

/// The pass of Pack::ahead; zero for other placements.
Timing pack_ahead(const SatConfig& config, const Piece& piece, const Mapping& mapping);

/// Every mapping that the search of a phase compares, in its order, including those that do not fit the
/// buffers: what a test holds the search against.
std::vector<std::vector<Mapping>> all_mappings(const SatConfig& config, const Product& product);

/// Bytes of `values` elements of the indexed operand in the buffer and in DRAM (dense if it is packed on
/// load).
class IndexedBytes {
  public:
    explicit IndexedBytes(const Piece& piece)
        : dense_(piece.engine.dense()),
          bytes_(piece.indexed.bytes),
          density_(dense_ ? 1 : piece.engine.pattern.density()),
          packed_bytes_(dense_ ? bytes_ : bytes_ + piece.engine.pattern.index_bits() / 8.0) {}

    double buffer(double values) const { return values * density_ * packed_bytes_; }
    double dram(const Mapping& mapping, double values) const {
        return mapping.pack == Pack::on_load ? values * bytes_ : buffer(values);
    }

  private:
    bool dense_;
    double bytes_, density_, packed_bytes_;
};

}  // namespace enmesh::accel::detail
