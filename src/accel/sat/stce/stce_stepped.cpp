#include <algorithm>
#include <chrono>

#include "accel/sat/stce/stce_kernels.hpp"
#include "accel/sat/stce/stce_plan.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/buffer.hpp"
#include "enmesh/base/error.hpp"

// The cycle-stepped machine, fast. Every row's sequencer is stepped cycle by cycle, idle cycles included; an
// operation works on all columns of a row at once, in the row's own time (column j runs j cycles later), and
// rows follow one another in chunks of groups, because nothing flows upwards. Every value that passes between
// rows carries the cycle in which it can be used; a row that would use it in any other cycle fails the run.
namespace enmesh::accel::sat {
namespace {

constexpr int64_t chunk_bytes =
    16 << 10;  ///< of partial sums (WS) or packed entries (OS): stays in the first-level cache
constexpr int64_t largest_partial_sums = int64_t{8} << 30;
constexpr int64_t panel_bytes = 32 << 20;  ///< of a column tile's packed entries kept at a time

class SteppedMachine {
  public:
    explicit SteppedMachine(const EnginePlan& plan);
    int64_t run();
    std::vector<float> take_out() { return std::move(out_); }

  private:
    void load_panel(const EnginePlan::Pass& pass, int64_t first_group, int64_t groups);
    int64_t run_ws();
    Buffer partial_sums(const EnginePlan::Pass& pass) const;
    int64_t run_os();
    int64_t ws_pass(const EnginePlan::Pass& pass);
    int64_t os_tile(const EnginePlan::Pass& pass);
    int64_t load_cycles() const;
    StepRow row_of(const EnginePlan::Pass& pass, int row);
    int64_t leave_array(int64_t end_in_column_0) const;
    void step(const StepRow& row, StepState& state, int64_t stop);
    void write_ws(const EnginePlan::Pass& pass);
    void write_os(const EnginePlan::Pass& pass);
    void write(const EnginePlan::Pass& pass, int64_t local_row, int lane, const float* line);

    const EnginePlan& plan_;
    const StceKernels& kernels_ = stce_kernels();
    const int rows_, cols_, padded_;
    const int64_t slots_;  ///< packed entries of a group in a column
    int64_t panel_first_ = -1, panel_groups_ = 0, panel_tile_ = -1;
    std::vector<float> panel_entries_;  ///< [group][slot][padded]
    std::vector<uint8_t> panel_indices_;
    Buffer latches_, sums_, passing_;
    std::vector<int64_t> stamps_;
    std::vector<StepState> states_;
    std::vector<float> out_;
};

SteppedMachine::SteppedMachine(const EnginePlan& plan)
    : plan_(plan),
      rows_(plan.stce.rows),
      cols_(plan.stce.cols),
      padded_(static_cast<int>(ceil_div(plan.stce.cols, 8) * 8)),
      slots_(int64_t{plan.cut.values} * plan.column_lanes()),
      latches_(static_cast<size_t>(rows_) * 2 * plan.pixel_lanes() * 16 * sizeof(float)),
      sums_(static_cast<size_t>(rows_) * plan.lanes() * padded_ * sizeof(float)),
      out_(static_cast<size_t>(plan.product.m * plan.product.n)) {}

/// Lays the packed entries of a column tile out as the column links want them. The buffers' work, not the
/// array's.
void SteppedMachine::load_panel(const EnginePlan::Pass& pass, int64_t first_group, int64_t groups) {
    const bool there = panel_tile_ == pass.col_tile && first_group >= panel_first_ &&
                       first_group + groups <= panel_first_ + panel_groups_;
    if (there) return;
    const int64_t group_bytes = slots_ * padded_ * 5;
    const int64_t total = plan_.ws() ? plan_.cut.reduction_passes * rows_ : plan_.cut.groups;
    panel_tile_ = pass.col_tile;
    panel_first_ = first_group;
    panel_groups_ = std::min(total - first_group, std::max(groups, panel_bytes / group_bytes));
    panel_entries_.assign(static_cast<size_t>(panel_groups_ * slots_ * padded_), 0.0F);
    panel_indices_.assign(panel_entries_.size(), 0);
    for (int col = 0; col < cols_; ++col)
        for (int lane = 0; lane < plan_.column_lanes(); ++lane) {
            const int64_t column = plan_.output_column(pass, col, lane);
            for (int64_t g = 0; g < panel_groups_; ++g)
                for (int n = 0; n < plan_.cut.values; ++n) {
                    const EnginePlan::Entry entry = plan_.entry(column, panel_first_ + g, n);
                    const int64_t slot = g * slots_ + int64_t{n} * plan_.column_lanes() + lane;
                    panel_entries_[static_cast<size_t>(slot * padded_ + col)] = to_float(entry.value);
                    panel_indices_[static_cast<size_t>(slot * padded_ + col)] = entry.index;
                }
        }
}

/// The loader sends one word a cycle down every column, the bottom row's entries first.
int64_t SteppedMachine::load_cycles() const {
    int64_t cycles = 0;
    for (int row = rows_ - 1; row >= 0; --row)
        for (int64_t left = slots_; left > 0; left -= plan_.stce.column_link_values) ++cycles;
    return cycles;
}

StepRow SteppedMachine::row_of(const EnginePlan::Pass& pass, int row) {
    const int pixels = plan_.pixel_lanes();
    StepRow step;
    step.ws = plan_.ws();
    step.pixels = pixels > 1;
    step.dense = plan_.product.dense();
    step.first_row = row == 0;
    step.padded_cols = padded_;
    step.lanes = plan_.lanes();
    step.values = plan_.cut.values;
    step.group = plan_.cut.group;
    step.link = plan_.stce.row_link_values;
    step.latency = plan_.stce.adder_latency;
    step.steps = pass.steps;
    step.k = plan_.product.k;
    step.whole_groups = plan_.product.k / plan_.cut.group;
    const int64_t first = plan_.ws() ? 0 : std::min(pass.rows, int64_t{row} * pixels);
    step.streamed = plan_.streamed.data() + (pass.first_row + first) * plan_.product.k;
    step.streamed_rows = pass.rows - first;
    if (plan_.ws()) {
        const int64_t group = pass.reduction * rows_ + row;
        step.position = group < plan_.cut.groups ? plan_.indexed->base(group) : plan_.product.k;
        const auto at = static_cast<size_t>((group - panel_first_) * slots_ * padded_);
        step.entries = panel_entries_.data() + at;
        step.indices = panel_indices_.data() + at;
    }
    step.sums = sums_.as<float>().data() + int64_t{row} * plan_.lanes() * padded_;
    step.latch = latches_.as<float>().data() + int64_t{row} * 2 * pixels * 16;
    return step;
}

void SteppedMachine::step(const StepRow& row, StepState& state, int64_t stop) {
    ENMESH_ASSERT(kernels_.step_row(row, state, stop));
}

/// The end token crosses the columns of the last row, one a cycle, then the last element's adder.
int64_t SteppedMachine::leave_array(int64_t end_in_column_0) const {
    int64_t cycle = end_in_column_0;
    for (int col = 0; col + 1 < cols_; ++col) ++cycle;
    for (int stage = 0; stage < plan_.stce.adder_latency; ++stage) ++cycle;
    return cycle;
}

void SteppedMachine::write(const EnginePlan::Pass& pass, int64_t local_row, int lane, const float* line) {
    if (local_row >= pass.rows) return;
    float* out = out_.data() + (pass.first_row + local_row) * plan_.product.n;
    for (int col = 0; col < cols_; ++col) {
        const int64_t column = plan_.output_column(pass, col, lane);
        if (column < plan_.product.n) out[column] = canonical(line[col]);
    }
}

void SteppedMachine::write_ws(const EnginePlan::Pass& pass) {
    const float* passing = passing_.as<float>().data();
    for (int64_t step = 0; step < pass.steps; ++step)
        for (int lane = 0; lane < plan_.lanes(); ++lane, passing += padded_)
            write(pass, plan_.pixel_lanes() > 1 ? step * plan_.lanes() + lane : step, lane, passing);
}

void SteppedMachine::write_os(const EnginePlan::Pass& pass) {
    const float* sums = sums_.as<float>().data();
    for (int row = 0; row < rows_; ++row)
        for (int lane = 0; lane < plan_.lanes(); ++lane, sums += padded_)
            write(pass, plan_.pixel_lanes() > 1 ? int64_t{row} * plan_.lanes() + lane : row, lane, sums);
}

/// One weight-stationary pass over the partial sums in `passing_`, which hold what the pass before left.
int64_t SteppedMachine::ws_pass(const EnginePlan::Pass& pass) {
    load_panel(pass, pass.reduction * rows_, rows_);
    const int64_t line = int64_t{plan_.lanes()} * padded_;
    const int64_t chunk = std::max<int64_t>(1, chunk_bytes / (line * static_cast<int64_t>(sizeof(float))));
    states_.assign(static_cast<size_t>(rows_), {});
    stamps_.assign(static_cast<size_t>(chunk * plan_.lanes()), 0);
    for (int64_t first = 0; first < pass.steps; first += chunk) {
        const int64_t stop = std::min(pass.steps, first + chunk);
        for (int row = 0; row < rows_; ++row) {
            StepRow job = row_of(pass, row);
            job.first_step = first;
            job.passing = passing_.as<float>().data() + first * line;
            job.stamps = stamps_.data();
            step(job, states_[static_cast<size_t>(row)], stop);
        }
    }
    return leave_array(states_.back().cycle);
}

/// The output buffer before the first reduction pass: +0, or the sums of a product that resumes.
Buffer SteppedMachine::partial_sums(const EnginePlan::Pass& pass) const {
    const int64_t bytes = pass.steps * plan_.lanes() * padded_ * static_cast<int64_t>(sizeof(float));
    if (bytes > largest_partial_sums)
        refuse(
            "a pass over {} streamed rows holds {} bytes of partial sums: choose a tile_m that needs at most "
            "{}",
            pass.rows, bytes, largest_partial_sums);
    Buffer sums(static_cast<size_t>(bytes));
    if (!plan_.product.resume) return sums;
    float* line = sums.as<float>().data();
    for (int64_t step = 0; step < pass.steps; ++step)
        for (int lane = 0; lane < plan_.lanes(); ++lane, line += padded_)
            for (int col = 0; col < cols_; ++col)
                line[col] =
                    plan_.start_sum(pass, plan_.pixel_lanes() > 1 ? step * plan_.lanes() + lane : step,
                                    plan_.output_column(pass, col, lane));
    return sums;
}

int64_t SteppedMachine::run_ws() {
    const int64_t load = load_cycles();
    int64_t now = 0, loaded = -1, load_end = 0;
    const auto start_load = [&](int64_t at) {
        if (loaded + 1 >= plan_.cut.loads) return;
        ++loaded;
        load_end = at + load;
    };
    start_load(0);
    for (int64_t p = 0; p < plan_.cut.passes; ++p) {
        const EnginePlan::Pass pass = plan_.pass(p);
        const bool fresh = p == plan_.pass_of_load(pass.load);
        if (fresh) {
            // With one packed set the load begins only now, with two it began when the load before was first
            // used.
            if (p > 0 && plan_.stce.packed_sets == 1) start_load(now);
            now = std::max(now, load_end);
            if (plan_.stce.packed_sets == 2) start_load(now);
        }
        if (pass.reduction == 0) passing_ = partial_sums(pass);
        now += ws_pass(pass);
        if (pass.last_reduction) write_ws(pass);
    }
    return now;
}

int64_t SteppedMachine::os_tile(const EnginePlan::Pass& pass) {
    const int64_t chunk =
        std::max<int64_t>(1, chunk_bytes / (slots_ * padded_ * static_cast<int64_t>(sizeof(float))));
    std::fill(sums_.as<float>().begin(), sums_.as<float>().end(), 0.0F);
    states_.assign(static_cast<size_t>(rows_), {});
    stamps_.assign(static_cast<size_t>(chunk * slots_), 0);
    for (int64_t first = 0; first < pass.steps; first += chunk) {
        const int64_t stop = std::min(pass.steps, first + chunk);
        load_panel(pass, first, stop - first);
        for (int row = 0; row < rows_; ++row) {
            StepRow job = row_of(pass, row);
            job.first_step = first;
            job.stamps = stamps_.data();
            const auto at = static_cast<size_t>((first - panel_first_) * slots_ * padded_);
            job.entries = panel_entries_.data() + at;
            job.indices = panel_indices_.data() + at;
            step(job, states_[static_cast<size_t>(row)], stop);
        }
    }
    return leave_array(states_.back().cycle);
}

int64_t SteppedMachine::run_os() {
    int64_t now = 0, drained = 0, drained_before = 0;
    for (int64_t p = 0; p < plan_.cut.passes; ++p) {
        const EnginePlan::Pass pass = plan_.pass(p);
        // The accumulator set this tile takes must have been drained.
        now = std::max(now, plan_.stce.accumulator_sets == 2 ? drained_before : drained);
        now += os_tile(pass);
        drained_before = drained;
        drained = std::max(drained, now);
        for (int row = 0; row < rows_; ++row)
            for (int lane = 0; lane < plan_.lanes(); ++lane) ++drained;
        write_os(pass);
    }
    return drained;
}

int64_t SteppedMachine::run() { return plan_.ws() ? run_ws() : run_os(); }

}  // namespace

EngineRun run_stepped(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                      std::span<const Half> streamed, const IndexedOperand& indexed,
                      std::span<const float> start) {
    const auto begin = std::chrono::steady_clock::now();
    const EnginePlan plan(stce, product, mapping, streamed, indexed, start);
    SteppedMachine machine(plan);
    EngineRun run;
    run.cycles = machine.run();
    run.element_cycles = run.cycles * stce.rows * stce.cols;
    run.out = machine.take_out();
    run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return run;
}

}  // namespace enmesh::accel::sat
