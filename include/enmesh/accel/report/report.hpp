#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "enmesh/accel/report/energy.hpp"
#include "enmesh/accel/workload/workload.hpp"

/// What a step costs on an accelerator, in terms that every machine shares: cycles, seconds, joules, and of
/// each product its useful work and where the other cycles went. What only one machine knows stands in named
/// figures, stalls and tracks, which every printer writes without knowing them.
namespace enmesh::accel {

/// A reason for cycles without useful work. The texts must outlive the report: literals.
struct StallCause {
    std::string_view name;   ///< in JSON and CSV
    std::string_view label;  ///< of the table's column, at most 5 characters
};
/// Reasons that several machines have.
namespace stall {
inline constexpr StallCause fill_drain{"fill_drain", "fill"};  ///< pipelines fill, drain, and start
inline constexpr StallCause tail{"tail", "tail"};              ///< ragged edges: positions without work
inline constexpr StallCause adder_latency{"adder_latency", "adder"};  ///< fewer outputs in turn than stages
inline constexpr StallCause row_link{"row_link", "link"};     ///< a link is still moving the next values
inline constexpr StallCause bandwidth{"bandwidth", "bandw"};  ///< waiting for memory
inline constexpr StallCause packing{"packing", "pack"};       ///< waiting for an N:M reduction
}  // namespace stall

/// Cycles by cause, in the order in which the machine names them. Cycles may be fractions: they are shares of
/// an array that is partly idle.
class Stalls {
  public:
    struct Entry {
        StallCause cause;
        double cycles = 0;
    };

    Stalls() = default;
    Stalls(std::initializer_list<Entry> entries) : entries_(entries) {}

    double of(std::string_view name) const;  ///< 0 for a cause that is not listed
    double total() const;
    void add(StallCause cause, double cycles);
    Stalls& operator+=(const Stalls& other);
    Stalls& operator*=(double factor);
    std::span<const Entry> entries() const { return entries_; }

  private:
    std::vector<Entry> entries_;
};

/// A named figure of the machine's own. The name must outlive the report.
struct Figure {
    std::string_view name;
    std::variant<int64_t, double, std::string> value;
    bool cycles = false;  ///< it counts cycles: of another clock in a mixed machine's report
    bool column = false;  ///< the table and the CSV show it too
};

/// How long one of the report's tracks is busy with a product or vector operation, from its start on.
struct Busy {
    size_t track = 0;  ///< index into Report::tracks
    double cycles = 0;
    std::vector<Figure> figures;
};

struct ProductResult {
    Product product;  ///< as it runs
    /// The N:M that the step asks of an operand, and of which one, where the accelerator runs it dense.
    std::optional<Pattern> asked{};
    Operand asked_of = Operand::none;
    std::string dataflow;  ///< how the machine runs it, in a word: "ws", "ws+os" if phases differ, "128x64"
    int64_t start_cycle = 0;
    int64_t cycles = 0;
    double elements = 0;        ///< multiply-adds a cycle of the engine that runs it; 0: the report's
    int64_t multiply_adds = 0;  ///< useful ones, whole batch
    double utilization = 0;     ///< multiply_adds / (cycles · elements)
    Stalls stalls;              ///< their sum and multiply_adds / elements make the cycles
    Activity activity;
    std::vector<Figure> figures;
    std::vector<Busy> busy;  ///< the first entry is the product's own track

    /// The value of a whole-numbered figure; refuses a name that the machine does not give.
    int64_t whole(std::string_view figure) const;
};

/// Vector work and weight updates.
struct VectorResult {
    std::string kind, layer;
    Stage stage = Stage::FF;
    int64_t elements = 0;
    int64_t start_cycle = 0;
    int64_t cycles = 0;
    int64_t lane_cycles = 0;
    int64_t memory_cycles = 0;
    Activity activity;
    std::vector<Busy> busy;
};

/// What running the products value by value showed (Accelerator::execute).
struct ExactRun {
    int64_t products = 0;        ///< product phases whose every distinct buffer tile was run
    int64_t tiles = 0;           ///< buffer tiles that were run
    bool whole = false;          ///< all tiles, their sums carried on, against whole products; else one tile
                                 ///< of each kind
    int64_t element_cycles = 0;  ///< stepped cycles × elements
    int64_t outputs = 0;         ///< compared bit by bit
    double host_seconds = 0;
};

/// An engine of a mixed machine, and its share of the step.
struct EngineShare {
    std::string name;
    int64_t elements = 1;
    double clock_hz = 1;
    int64_t busy_cycles = 0;  ///< of the report's clock: its products and vector work
};

/// A step on an accelerator.
struct Report {
    std::string network, method, accelerator;
    int64_t images = 1;
    int64_t elements = 1;  ///< multiply-adds a cycle
    double clock_hz = 1;
    int64_t total_cycles = 0;
    double seconds = 0;
    Energy energy;
    std::string energy_table;         ///< "" if energy is not modelled
    double static_watts = 0;          ///< the part of `energy` that is drawn at any time
    std::vector<std::string> tracks;  ///< of the trace: what may be busy at the same time
    std::vector<ProductResult> products;
    std::vector<VectorResult> vector_work;
    std::vector<std::string> notes;    ///< what the numbers alone do not say, a line each
    std::optional<ExactRun> exact;     ///< the run that confirmed the engine cycles
    std::vector<EngineShare> engines;  ///< of a mixed machine; else empty
    bool side_by_side = false;         ///< engines overlap: the total is less than the sum of the cycles

    int64_t multiply_adds() const;
    double gflops() const;           ///< useful, 2 per multiply-add
    double gflops_per_watt() const;  ///< 0 without energy
};

/// The head of a report: what is said of the step, and of the machine.
Report report_of(const Workload& workload, std::string accelerator, int64_t elements, double clock_hz);

/// total + repeat · cycles. Refuses more cycles than 64 bits can count.
int64_t counted_sum(int64_t total, int64_t repeat, int64_t cycles);

/// Ends a report whose engines take turns: start cycles in the step's order, total cycles and seconds.
/// Results stand as in the workload, updates after vector operations; vector work may be missing altogether.
/// Refuses more cycles than can be counted.
void take_turns(Report& report, const Workload& workload);

/// The energy of the whole report, under a table; after take_turns().
void add_energy(Report& report, const EnergyTable& table);

/// The report as a table for people, as CSV (one line per product and vector operation) and as the JSON of
/// the command line's contract.
std::string to_table(const Report& report);
std::string to_csv(const Report& report);
std::string to_json(const Report& report);

/// A Chrome trace (opens in Perfetto and chrome://tracing): the report's tracks; a cycle is 1/clock.
std::string to_trace(const Report& report);

}  // namespace enmesh::accel
