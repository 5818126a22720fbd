#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "enmesh/accel/sat/stce/stce.hpp"

/// What the naive and the fast machine share: which values the buffers hand them, in which order passes come.
/// No timing.
namespace enmesh::accel::sat {

/// Refuses operands and start sums that do not have the product's shape or the mapping's groups, start sums
/// of -0 (no chain ends there), and illegal mappings.
void check_run(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
               std::span<const Half> streamed, const IndexedOperand& indexed, std::span<const float> start);

/// One product as the controller sees it, decoded from its configuration words.
struct EnginePlan {
    Stce stce;
    EngineProduct product;
    EngineMapping mapping;
    EngineTiling cut;
    std::span<const Half> streamed;
    const IndexedOperand* indexed = nullptr;
    std::span<const float> start;

    EnginePlan(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
               std::span<const Half> streamed, const IndexedOperand& indexed, std::span<const float> start);

    bool ws() const { return mapping.dataflow == Dataflow::ws; }
    int lanes() const { return mapping.interleave; }
    int pixel_lanes() const { return mapping.interleave_pixels ? mapping.interleave : 1; }
    int column_lanes() const { return mapping.interleave_pixels ? 1 : mapping.interleave; }
    int group_values() const {
        return pixel_lanes() * cut.group;
    }  ///< streamed values a row moves per group period

    /// Pass p in the order columns, rows, reduction.
    struct Pass {
        int64_t col_tile = 0, row_tile = 0, reduction = 0;
        int64_t first_row = 0, rows = 0;  ///< streamed rows of its tile
        int64_t steps = 0;                ///< group periods a row runs
        int64_t load = 0;                 ///< WS: which load of packed groups it uses
        bool last_reduction = false;
    };
    Pass pass(int64_t p) const;
    /// The pass that first uses a load.
    int64_t pass_of_load(int64_t load) const {
        return cut.reduction_passes == 1 ? load * cut.row_tiles : load;
    }

    /// Streamed value: +0 beyond the operand's edges.
    Half streamed_value(int64_t row, int64_t end_row, int64_t group, int position) const {
        if (row >= end_row || group >= cut.groups) return {};
        const int64_t k = indexed->base(group) + position;
        return k < product.k ? streamed[static_cast<size_t>(row * product.k + k)] : Half{};
    }
    struct Entry {
        Half value;
        uint8_t index = 0;
    };
    /// Packed entry `e` of `group` of an output column: padding beyond the operand's edges.
    Entry entry(int64_t column, int64_t group, int e) const {
        if (column >= product.n || group >= cut.groups) return {{}, static_cast<uint8_t>(e)};
        const auto at = static_cast<size_t>((column * cut.groups + group) * cut.values + e);
        return {indexed->entries[at], indexed->indices[at]};
    }
    /// WS: the stored sum that the first reduction pass injects for an output; +0 if the product does not
    /// resume, and beyond its edges.
    float start_sum(const Pass& pass, int64_t local_row, int64_t column) const {
        if (!product.resume || local_row >= pass.rows || column >= product.n) return 0;
        return start[static_cast<size_t>((pass.first_row + local_row) * product.n + column)];
    }
    /// Output column that lane `lane` of array column `col` computes.
    int64_t output_column(const Pass& pass, int col, int lane) const {
        return pass.col_tile * cut.cols_per_tile + int64_t{col} * column_lanes() +
               (mapping.interleave_pixels ? 0 : lane);
    }
};

/// Every NaN leaves as the canonical one.
inline float canonical(float value) { return value == value ? value : std::bit_cast<float>(0x7fc00000U); }

}  // namespace enmesh::accel::sat
