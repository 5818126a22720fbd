#pragma once

#include <unordered_map>

#include "accel/sat/up_to_two.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/base/arithmetic.hpp"

/// The cost model's inner parts, shared by cost() and the search.
namespace enmesh::accel::sat::detail {

/// An axis cut into `count` tiles, the last one of `last` elements.
struct Axis {
    int64_t tile = 1, count = 1, last = 1;
};
Axis cut(int64_t size, int64_t tile);
/// The kinds of tiles of an axis: full ones, and the last if it is shorter.
UpToTwo<Span> spans(int64_t size, int64_t tile);

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

/// Everything that a product's schedule and its cost depend on, as text. A new field of the machine or of a
/// product does not compile until it has been placed here.
std::string key_of(const SatConfig& config, const Product& product);

/// Packed groups of `values` of an operand as it is stored, at the rate of rows of `depth`: of a matrix whole
/// rows; of a convolution's map, without duplicates, rounded up.
int64_t stored_groups(Pattern pattern, int64_t values, int64_t depth);

/// An operand's values() of a tile, each kind of tile counted once. Not for several threads.
class TileValues {
  public:
    explicit TileValues(const Piece::Source& source) : source_(source) {}

    int64_t operator()(Span rows, Span depth) const;
    /// The most that a tile of an operand of `all_rows` x `all_depth` holds.
    int64_t largest(int64_t all_rows, int64_t rows, int64_t all_depth, int64_t depth) const;

  private:
    struct Hash {
        size_t operator()(const std::array<Span, 2>& key) const;
    };
    Piece::Source source_;
    mutable std::unordered_map<std::array<Span, 2>, int64_t, Hash> known_;
};

/// A part of the indexed operand: its elements, and the packed groups that hold what is kept of them (0 if
/// the product is dense).
struct IndexedPart {
    int64_t values = 0, groups = 0;
};

/// Sizes of the indexed operand's parts in elements, packed groups and bytes. A group is N FP16 values and N
/// indices of ceil(log2 M) bits, without padding.
class IndexedSize {
  public:
    explicit IndexedSize(const Piece& piece);

    /// `rows` x `depth` as it is stored: a convolution's operand without its duplicates, packed at the rate
    /// of its rows.
    IndexedPart stored(Span rows, Span depth) const;
    /// The same, every row for itself, as it passes through the array.
    IndexedPart panel(int64_t rows, int64_t depth) const;
    /// Bytes of the largest tile; the last one along k keeps its ragged tail whole.
    double largest(int64_t rows, int64_t depth, bool streaming) const;

    double buffer(const IndexedPart& part) const {
        return dense_ ? static_cast<double>(part.values) * bytes_
                      : static_cast<double>(part.groups) * group_bytes_;
    }
    /// Dense if SORE packs it on its way in.
    double dram(const Mapping& mapping, const IndexedPart& part) const {
        return mapping.pack == Pack::on_load ? static_cast<double>(part.values) * bytes_ : buffer(part);
    }

  private:
    TileValues values_;
    Pattern pattern_;
    bool dense_;
    int64_t rows_, depth_;
    double bytes_, group_bytes_;
};

}  // namespace enmesh::accel::sat::detail
