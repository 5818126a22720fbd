#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "enmesh/accel/common/dataflow.hpp"
#include "enmesh/accel/common/ranges.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/pattern.hpp"

/// The STCE: SAT's R x C systolic sparse tensor computing engine (docs/sat.md describes it register by
/// register).
///
/// A product is out[m][n] = sum over k of streamed[m][k] * indexed[n][k]. The *indexed* operand is held
/// (weight-stationary) or sent (output-stationary) as packed groups: N values and their indices in M. The
/// *streamed* operand travels along the rows in groups of M values, of which an element picks N. Dense is the
/// same machine with N = M = D. Which tensor plays which role is the caller's choice: multiplication
/// commutes, so the bits do not depend on it.
namespace enmesh::accel::sat {

/// The array's parameters; stce_ranges() says what they may be. The defaults are our design (docs/sat.md),
/// sized for 32 x 32 elements at 200 MHz.
struct Stce {
    int rows = 32;            ///< R
    int cols = 32;            ///< C
    int adder_latency = 4;    ///< L, cycles from issue to a usable sum
    int max_group = 16;       ///< largest M and D a latch holds
    int max_interleave = 16;  ///< accumulators in a set: the largest I
    int packed_values =
        64;               ///< packed entries (value and index) an element holds in a set: I*N must fit (WS)
    int packed_sets = 2;  ///< 2: the next pass's packed groups load while one runs; 1: in between
    int latches = 2;      ///< group latches of an element; interleaving pixels by I takes 2*I of them
    int row_link_values = 1;     ///< streamed values a row link moves a cycle
    int column_link_values = 1;  ///< packed entries a column link moves a cycle
    int accumulator_sets = 2;    ///< 2: an OS tile drains while the next computes; 1: in between
    double clock_hz = 200e6;

    friend bool operator==(const Stce&, const Stce&) = default;
};

std::span<const ParameterRange<Stce>> stce_ranges();
inline constexpr double least_clock_hz = 1e6, most_clock_hz = 1e10;

/// Refuses parameters outside their ranges, naming the parameter.
void check(const Stce& stce);

struct EngineProduct {
    int64_t m = 0;  ///< rows of the streamed operand
    int64_t n = 0;  ///< rows of the indexed operand
    int64_t k = 0;  ///< reduction length, before compression
    Pattern
        pattern{};  ///< of the indexed operand; {0, 0} is dense. k % pattern.m trailing elements are dense
    bool resume = false;  ///< WS: the chains go on from stored sums instead of +0; a product that is cut
                          ///< along k resumes in all its parts but the first

    bool dense() const { return pattern.n == 0; }
    friend bool operator==(const EngineProduct&, const EngineProduct&) = default;
};

/// Refuses sizes below 1, above 2^31 or with m*n*k above 2^53 (beyond what element-cycle counts hold), and
/// bad patterns.
void check(const EngineProduct& product);

struct EngineMapping {
    Dataflow dataflow = Dataflow::ws;
    int interleave = 4;  ///< I, outputs served round-robin by an element; 1 is interleaving off
    bool interleave_pixels =
        false;           ///< the I outputs are I streamed rows sharing one packed group, not I output columns
    int group = 16;      ///< D of a dense product, 1..max_group; ignored for N:M
    int64_t tile_m = 0;  ///< WS: streamed rows in a pass (T); 0 is all of m. Ignored for OS

    friend bool operator==(const EngineMapping&, const EngineMapping&) = default;
};

/// How a product is cut up; the same for closed form and schedulers (buffer sizes, traffic). Pure arithmetic,
/// no timing.
struct EngineTiling {
    int values = 0;             ///< N entries in a packed group (D if dense)
    int group = 0;              ///< M streamed values in a group (D if dense)
    int64_t groups = 0;         ///< packed groups along k: floor(k/M) + ceil((k mod M)/N); ceil(k/D) if dense
    int64_t rows_per_tile = 0;  ///< streamed rows in a tile: tile_m (WS), R or R*I (OS)
    int64_t cols_per_tile = 0;  ///< output columns in a tile: C*I, or C when pixels are interleaved
    int64_t row_tiles = 0;      ///< ceil(m / rows_per_tile)
    int64_t col_tiles = 0;      ///< ceil(n / cols_per_tile)
    int64_t reduction_passes = 0;  ///< WS: ceil(groups / R); OS: 1
    int64_t passes = 0;  ///< row_tiles * col_tiles * reduction_passes, in the order columns, rows, reduction
    int64_t loads = 0;   ///< WS: times the array's packed groups are loaded; OS: 0
};
/// Packed groups that a row of k elements of an N:M operand fills: floor(k/M) + ceil((k mod M)/N).
constexpr int64_t packed_groups(Pattern pattern, int64_t k) {
    return k / pattern.m + (k % pattern.m + pattern.n - 1) / pattern.n;
}
EngineTiling tiling(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping);

/// Cycles of one product alone on an idle engine, and where they went. Attribution is in element-cycles:
/// useful + tail + adder + link + fill_drain + load == cycles * rows * cols, exactly.
struct EngineCycles {
    int64_t cycles = 0;
    int64_t useful = 0;      ///< useful multiply-adds
    int64_t tail = 0;        ///< products with padding: ragged edges of m, n and k
    int64_t adder = 0;       ///< issue slots idle because fewer outputs than adder stages interleave (I < L)
    int64_t link = 0;        ///< issue slots idle because the row link is still moving the next group
    int64_t fill_drain = 0;  ///< first latch fill, row and column skew, adder flush, exposed OS drain
    int64_t load = 0;        ///< loading packed groups, where no pass hides it

    double utilization() const {
        const int64_t all = useful + tail + adder + link + fill_drain + load;
        return all == 0 ? 0 : static_cast<double>(useful) / static_cast<double>(all);
    }
};

/// True if the array can run the mapping: group and interleave fit latches, accumulators and packed storage.
bool legal(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping) noexcept;
/// Why it cannot, in one line; empty if it can.
std::string why_illegal(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping);

/// Design formulas (docs/sat.md, "Cycles"). O(1), no allocation. The mapping must be legal, m, n, k >= 1.
EngineCycles closed_form(const Stce& stce, const EngineProduct& product,
                         const EngineMapping& mapping) noexcept;

/// The indexed operand in packed form: entry e of group g of row r sits at (r * groups + g) * values + e. An
/// entry's reduction position is base(g) + index; entries ascend. Padding entries hold +0 and point at a
/// position >= k, where the streamed operand is zero.
struct IndexedOperand {
    int64_t n = 0;
    int64_t k = 0;
    int values = 0;      ///< N, or D
    int group = 0;       ///< M, or D
    int64_t groups = 0;  ///< as EngineTiling::groups
    std::vector<Half> entries;
    std::vector<uint8_t> indices;

    int64_t base(int64_t g) const { return (g < k / group ? g : k / group) * group; }
};

/// A dense operand [n][k] cut into groups of D.
IndexedOperand dense_operand(std::span<const Half> weights, int64_t n, int64_t k, int group);
/// An N:M operand: the N largest |rank| of every M along k (ties: lowest index), as SORE picks; the tail
/// stays dense. `ranks` (FP32 masters) may be empty: then the FP16 values themselves rank.
IndexedOperand packed_operand(std::span<const Half> weights, std::span<const float> ranks, int64_t n,
                              int64_t k, Pattern pattern);
/// The dense [n][k] operand that the packed one stands for: zeros where pruned.
std::vector<Half> unpacked_operand(const IndexedOperand& operand);

/// The same arithmetic as the engine at software speed, on all threads: out[m][n] (row-major, overwritten) is
/// one FP32 chain per output over the kept entries in ascending order, starting at +0, rounded to nearest
/// even at each add. The product of two FP16 numbers is exact in FP32 (22 significant bits, exponents
/// -48..31), so fused and separate multiply-adds agree. A NaN comes out as the canonical 0x7fc00000.
/// `start`, if given, are the [m][n] stored sums that the chains begin at instead.
void software_product(std::span<const Half> streamed, const IndexedOperand& indexed, std::span<float> out,
                      std::span<const float> start = {});

/// What a stepped run counted and computed.
struct EngineRun {
    int64_t cycles = 0;
    int64_t element_cycles = 0;  ///< cycles * rows * cols
    double seconds = 0;          ///< of the host
    std::vector<float> out;      ///< [m][n]

    double element_cycles_per_second() const {
        return seconds > 0 ? static_cast<double>(element_cycles) / seconds : 0;
    }
};

/// The cycle-stepped model: moves FP16 and FP32 values from register to register until the engine says done.
/// One core. `streamed` is [m][k]; `indexed` must have the product's shape and the mapping's group. The
/// mapping must be legal. `start` holds the [m][n] stored sums of a product that resumes, and nothing
/// otherwise; stored sums were chains, so none of them is -0.
EngineRun run_stepped(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                      std::span<const Half> streamed, const IndexedOperand& indexed,
                      std::span<const float> start = {});

/// When an output of the naive model was complete: the cycle its last operand entered its element, and the
/// one it left in.
struct OutputEvent {
    int64_t last_input_cycle = -1;
    int64_t leave_cycle = -1;
};

/// The oracle: one object per element, two-phase clock, nothing clever. For small arrays.
/// `events`, if given, receives one entry per output.
EngineRun run_naive(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                    std::span<const Half> streamed, const IndexedOperand& indexed,
                    std::vector<OutputEvent>* events = nullptr, std::span<const float> start = {});

/// Every register of the naive model at the start of `cycle`, as text. Refuses a cycle past the end, naming
/// the last.
std::string state_at(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                     std::span<const Half> streamed, const IndexedOperand& indexed, int64_t cycle,
                     std::span<const float> start = {});

/// The words that set the engine up for one product (bit fields: docs/sat.md, "Configuration words").
using EngineWords = std::array<uint32_t, 6>;
EngineWords encode(const EngineProduct& product, const EngineMapping& mapping);
struct DecodedWords {
    EngineProduct product;
    EngineMapping mapping;
};
/// Refuses words that no product encodes to.
DecodedWords decode(const EngineWords& words);

}  // namespace enmesh::accel::sat
