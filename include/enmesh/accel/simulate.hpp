#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "enmesh/accel/report/energy.hpp"
#include "enmesh/accel/sat/config.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/accel/workload/workload.hpp"

namespace enmesh::accel {

/// Cycles that a product takes beyond multiply_adds / elements, by cause. Their sum and the ideal make its
/// cycles.
struct Stalls {
    double fill_drain = 0;     ///< first latch fill, skew, drain, loading packed groups that nothing hides
    double tail = 0;           ///< ragged edges: array positions without work
    double adder_latency = 0;  ///< fewer outputs in turn than adder stages
    double row_link = 0;       ///< the row link is still moving the next group
    double bandwidth = 0;      ///< waiting for DRAM
    double packing = 0;        ///< waiting for the online N:M reduction

    static constexpr auto fields() {
        return std::array{
            std::pair{"fill_drain", &Stalls::fill_drain},       std::pair{"tail", &Stalls::tail},
            std::pair{"adder_latency", &Stalls::adder_latency}, std::pair{"row_link", &Stalls::row_link},
            std::pair{"bandwidth", &Stalls::bandwidth},         std::pair{"packing", &Stalls::packing}};
    }
    double total() const { return total_figures(*this); }
    Stalls& operator+=(const Stalls& other) { return add_figures(*this, other); }
};

struct ProductResult {
    Product product;  ///< as it runs
    /// The N:M that the step asks of an operand, and of which one, where the accelerator runs it dense.
    std::optional<Pattern> asked{};
    Operand asked_of = Operand::none;
    std::string dataflow;  ///< "ws", "os", "is"; "ws+os" if phases differ
    int64_t start_cycle = 0;
    int64_t cycles = 0;
    int64_t engine_cycles = 0;  ///< SAT: of these, the STCE's own; the others wait for DRAM or SORE
    int64_t multiply_adds = 0;  ///< useful ones, whole batch
    double utilization = 0;     ///< multiply_adds / (cycles · elements)
    Stalls stalls;
    Activity activity;
    std::vector<Mapping> mappings;
};

/// Vector work and weight updates: max(lanes, DRAM) cycles each.
struct VectorResult {
    std::string kind, layer;
    Stage stage = Stage::FF;
    int64_t elements = 0;
    int64_t start_cycle = 0;
    int64_t cycles = 0;
    int64_t lane_cycles = 0;
    int64_t memory_cycles = 0;
    Activity activity;
};

/// What running the products value by value showed (run_exact).
struct ExactRun {
    int64_t products = 0;        ///< product phases whose every distinct buffer tile was run
    int64_t tiles = 0;           ///< buffer tiles that were run
    bool whole = false;          ///< all tiles, their sums carried on, against whole products; else one tile
                                 ///< of each kind
    int64_t element_cycles = 0;  ///< stepped cycles × elements
    int64_t outputs = 0;         ///< compared bit by bit
    double host_seconds = 0;
};

/// A step on an accelerator. Engines take turns in the step's order, so the cycles add up.
struct Report {
    std::string network, method, accelerator;
    int64_t images = 1;
    int64_t elements = 1;
    double clock_hz = 1;
    double dram_bytes_per_cycle = 1,
           pack_groups_per_cycle = 1;  ///< for the trace: how long DRAM and SORE are busy
    int64_t total_cycles = 0;
    double seconds = 0;
    Energy energy;
    std::string energy_table;  ///< "" if energy is not modelled
    std::vector<ProductResult> products;
    std::vector<VectorResult> vector_work;
    std::vector<std::string> notes;  ///< what the numbers alone do not say, a line each
    std::optional<ExactRun> exact;   ///< the run that confirmed the engine cycles

    int64_t multiply_adds() const;
    double gflops() const;           ///< useful, 2 per multiply-add
    double gflops_per_watt() const;  ///< 0 without energy
};

/// The step on SAT under a schedule that fits (check() it, or take find_schedule()'s).
Report simulate(const SatConfig& config, const Workload& workload, const Schedule& schedule);

/// The products alone on a dense array in the SCALE-Sim convention: no memory, no energy; N:M operands run
/// dense. `dataflow` is the name ws, os, is, or auto (the fastest for each product).
Report simulate_systolic(const SystolicConfig& config, const Workload& workload, const std::string& dataflow);

/// Start cycles and their sum, in the step's order: engines and kernels take turns. Results stand as in the
/// workload, updates after vector operations.
void place_in_order(Report& report, const Workload& workload);

/// Which products of a workload are meant: all, those of a layer, of a stage, or both.
struct ProductChoice {
    std::string layer;           ///< "": every layer
    std::optional<Stage> stage;  ///< nothing: every stage
};

/// Runs the buffer tiles of every distinct product phase that is chosen through the cycle-stepped STCE, on
/// FP16 values drawn from `seed`, and compares their cycles with the closed form and their outputs, bit by
/// bit, with a software product. Of every chosen product the tiles' cycles, each as often as it occurs, must
/// be the engine cycles of `report`, which simulate() made of this schedule.
///
/// If that takes no more than `most_element_cycles`, every tile of a phase runs, tiles along k begin at the
/// sums that the one before left, and the outputs are held against the software product of the whole phase.
/// Else one tile of each kind (sizes; begins at +0 or at stored sums, then drawn) runs, against its own
/// software product. Refuses what takes more even so, and fails on the first difference, naming layer and
/// stage. `progress`, if given, hears after every tile how many element-cycles are done and how many there
/// are.
ExactRun run_exact(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                   const Report& report, uint64_t seed, const ProductChoice& choice = {},
                   const std::function<void(double done, double all)>& progress = {},
                   double most_element_cycles = 2e11);

/// Every register of the STCE at the start of `cycle` of the first buffer tile of the first product phase
/// that is chosen, as text: the naive machine, on values drawn from `seed`. Refuses a cycle past the end, and
/// one that the naive machine would take minutes to reach.
std::string registers_at(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                         uint64_t seed, const ProductChoice& choice, int64_t cycle);

/// The report as a table for people, as CSV (one line per product and vector operation) and as the JSON of
/// the command line's contract.
std::string to_table(const Report& report);
std::string to_csv(const Report& report);
std::string to_json(const Report& report);

/// A Chrome trace (opens in Perfetto and chrome://tracing): one track per engine and one for DRAM; a cycle is
/// 1/clock.
std::string to_trace(const Report& report);

}  // namespace enmesh::accel
