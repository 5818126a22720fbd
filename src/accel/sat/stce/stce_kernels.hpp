#pragma once

#include <cstdint>

#include "enmesh/base/half.hpp"

/// The two inner loops of the STCE in software, compiled once per instruction set: a row of the stepped
/// machine, and the software product. Plain pointers only, so that no shared inline function is compiled for
/// the wrong processor.
namespace enmesh::accel::sat {

/// What one row of elements works on. Columns lie side by side in vectors of `padded_cols` floats (a multiple
/// of 8). Column j runs one cycle behind column j-1: the row is stepped in its own time, cycle c standing for
/// c + j in column j.
struct StepRow {
    bool ws = true;
    bool pixels = false;
    bool dense = false;
    bool first_row = false;
    int padded_cols = 0;
    int lanes = 0;      ///< I
    int values = 0;     ///< N
    int group = 0;      ///< M
    int link = 0;       ///< row link values a cycle
    int latency = 0;    ///< L
    int64_t steps = 0;  ///< group periods in the pass

    /// Streamed operand [m][k]: WS row t * pixel lanes + p of the tile at `position`; OS row p at base(t).
    const Half* streamed = nullptr;  ///< first row of the tile (WS) or of this array row (OS)
    int64_t streamed_rows = 0;       ///< valid rows from there
    int64_t k = 0;
    int64_t position = 0;      ///< WS: base of the row's group; k or more if it holds none
    int64_t whole_groups = 0;  ///< floor(k / M): later groups share the tail's base

    /// Packed entries, [slot][padded_cols]: the row's own (WS), or the column stream from group `first_step`
    /// on (OS).
    const float* entries = nullptr;
    const uint8_t* indices = nullptr;
    float* sums = nullptr;   ///< accumulators [lane][padded_cols]
    float* latch = nullptr;  ///< [bank][pixel][16]

    /// What passes from row to row, from group `first_step` on, with the cycle in which it can be used: WS
    /// partial sums [step][lane][padded_cols] and a stamp each; OS a stamp for each packed entry
    /// [step][slot].
    int64_t first_step = 0;
    float* passing = nullptr;
    int64_t* stamps = nullptr;
};

/// A row's sequencer. Cycles count from the start of the pass, in column 0's time.
struct StepState {
    int64_t cycle = 0;
    bool running = false;
    int64_t group = 0;  ///< being issued, or about to begin
    int bank = 1;       ///< latch bank read; the other one fills
    // The row link.
    int64_t fill_group = 0;
    int fill_pixel = 0, fill_position = 0;
    const Half* source = nullptr;
    int available = 0;         ///< values of `source` inside the operand; the rest are zero
    int64_t visible[64] = {};  ///< cycle in which a lane's sum comes out of the adder
};

inline constexpr int product_rows = 32;  ///< streamed rows of a block of the software product
inline constexpr int product_panel =
    192;  ///< reduction positions worked on at a time: the panel stays in the first cache

/// One block of the software product: outputs of `rows` <= 32 streamed rows, all `columns`.
struct ProductBlock {
    const Half* streamed = nullptr;  ///< [rows][k]
    int rows = 0;
    int64_t k = 0;
    int group = 0;              ///< M
    int64_t group_entries = 0;  ///< N
    int64_t groups = 0;
    int64_t whole_groups = 0;  ///< floor(k / M): later groups share the tail's base
    int64_t columns = 0;
    int64_t entries = 0;                 ///< per column
    const float* values = nullptr;       ///< [column][entry]
    const int32_t* positions = nullptr;  ///< [column][entry], ascending
    bool dense = false;                  ///< entry e sits at position e
    float* panel = nullptr;              ///< scratch, [product_panel][32]
    float* sums = nullptr;               ///< scratch, [columns][32]; without `out` the result
    float* out = nullptr;                ///< [rows][columns]; NaN becomes the canonical one
    bool resume = false;                 ///< `sums` hold the chains so far
};

struct StceKernels {
    /// Steps a row to the beginning of group `stop`. False if a value was used before it was there, or came
    /// when it was not used: the machine would compute something else.
    bool (*step_row)(const StepRow& row, StepState& state, int64_t stop);
    void (*product_block)(const ProductBlock& block);
    /// All entries of a block whose panel is filled: panel[position][32].
    void (*product_panel_block)(const ProductBlock& block);
    void (*widen)(const Half* from, float* to, int64_t count);
    void (*narrow)(const float* from, Half* to, int64_t count);
};
const StceKernels& stce_kernels_portable();
const StceKernels& stce_kernels_avx2();
/// The widest that isa() allows.
const StceKernels& stce_kernels();

}  // namespace enmesh::accel::sat
