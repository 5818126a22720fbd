#include "accel/sat/stce/stce_naive.hpp"

#include <algorithm>
#include <bit>
#include <chrono>

#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace naive {

Machine::Machine(const EnginePlan& plan, std::vector<OutputEvent>* events)
    : plan_(plan), rows_(plan.stce.rows), cols_(plan.stce.cols), events_(events) {
    Element blank;
    for (auto& bank : blank.latch) bank.resize(static_cast<size_t>(plan.group_values()));
    for (auto& set : blank.packed) set.resize(static_cast<size_t>(plan.column_lanes() * plan.cut.values));
    for (auto& set : blank.sums) set.resize(static_cast<size_t>(plan.lanes()));
    blank.adder.resize(static_cast<size_t>(plan.stce.adder_latency));
    elements_.assign(static_cast<size_t>(rows_ * cols_), blank);
    sequencers_.resize(static_cast<size_t>(rows_));
    const auto outputs = static_cast<size_t>(plan.product.m * plan.product.n);
    out_.resize(outputs);
    if (events_ != nullptr) events_->assign(outputs, {});
}

void Machine::control_passes() {
    if (running_ && at(rows_ - 1, cols_ - 1).adder.back().end) finish_pass();
    if (drain_.active && drain_.cycle == int64_t{rows_} * plan_.lanes()) finish_drain();
    const int64_t computed = next_pass_ - (running_ ? 1 : 0);
    if (!plan_.ws() && !drain_.active && drain_.done < computed) {
        drain_.active = true;
        drain_.tile = drain_.done;
        drain_.cycle = 0;
        drained_pass_ = plan_.pass(drain_.tile);
    }
    if (running_ || next_pass_ == plan_.cut.passes) return;
    const EnginePlan::Pass next = plan_.pass(next_pass_);
    if (plan_.ws() && loader_.done <= next.load) return;
    if (!plan_.ws() && next_pass_ - drain_.done >= plan_.stce.accumulator_sets) return;
    start_pass();
}

void Machine::control_loader() {
    if (!plan_.ws()) return;
    const int64_t per_row = (plan_.column_lanes() * plan_.cut.values + plan_.stce.column_link_values - 1) /
                            plan_.stce.column_link_values;
    if (loader_.active && loader_.cycle == rows_ * per_row) {
        loader_.active = false;
        ++loader_.done;
    }
}

void Machine::start_pass() {
    pass_ = plan_.pass(next_pass_++);
    running_ = true;
    for (Sequencer& sequencer : sequencers_) {
        sequencer = {};
        sequencer.phase = Phase::fill;
        sequencer.bank = 1;  // so that bank 0 fills first
    }
    injected_.assign(static_cast<size_t>(cols_), 0);
    collected_.assign(static_cast<size_t>(cols_), 0);
    sent_.assign(static_cast<size_t>(cols_), 0);
    if (plan_.ws() && pass_.reduction == 0) fill_output_buffer();
}

/// WS: what the first reduction pass injects, +0 or the sums of a product that resumes.
void Machine::fill_output_buffer() {
    buffer_.assign(static_cast<size_t>(pass_.steps * plan_.lanes() * cols_), Sum{});
    for (int64_t step = 0; step < pass_.steps; ++step)
        for (int lane = 0; lane < plan_.lanes(); ++lane)
            for (int col = 0; col < cols_; ++col) {
                const int64_t row = step * plan_.pixel_lanes() + (plan_.pixel_lanes() > 1 ? lane : 0);
                buffer_[static_cast<size_t>((step * plan_.lanes() + lane) * cols_ + col)].value =
                    plan_.start_sum(pass_, row, plan_.output_column(pass_, col, lane));
            }
}

void Machine::finish_pass() {
    running_ = false;
    if (!plan_.ws() || !pass_.last_reduction) return;
    for (int64_t step = 0; step < pass_.steps; ++step)
        for (int lane = 0; lane < plan_.lanes(); ++lane)
            for (int col = 0; col < cols_; ++col) {
                const int64_t row = step * plan_.pixel_lanes() + (plan_.pixel_lanes() > 1 ? lane : 0);
                const int64_t column = plan_.output_column(pass_, col, lane);
                if (row >= pass_.rows || column >= plan_.product.n) continue;
                const auto from = static_cast<size_t>((step * plan_.lanes() + lane) * cols_ + col);
                out_[static_cast<size_t>((pass_.first_row + row) * plan_.product.n + column)] =
                    canonical(buffer_[from].value);
            }
}

void Machine::finish_drain() {
    drain_.active = false;
    ++drain_.done;
}

bool Machine::round_over(const Sequencer& s, int row) const {
    const Stage& out = at(row, 0).adder.back();
    return s.lane == plan_.lanes() && (s.seen || (out.valid && out.lane == 0));
}

/// The row's control word for column 0 in this cycle.
Control Machine::sequence(int row) {
    Sequencer& s = sequencers_[static_cast<size_t>(row)];
    Control control;
    bool begins = false;
    if (s.phase == Phase::fill && s.moved == plan_.group_values()) s.phase = Phase::wait;
    if (s.phase == Phase::wait) {
        bool go = row == 0;
        if (row > 0 && plan_.ws()) {
            const Stage& above = at(row - 1, 0).adder.back();
            go = above.valid && above.last && above.lane == 0;
        }
        if (row > 0 && !plan_.ws()) go = at(row - 1, 0).entry_out.valid;
        if (!go) return control;
        s.phase = Phase::run;
        begins = true;
    }
    if (s.phase != Phase::run) return control;
    if (!begins && !s.issued) {
        if (round_over(s, row)) {
            s.lane = 0;
            s.seen = false;
            s.issued = ++s.round == plan_.cut.values;
        } else if (at(row, 0).adder.back().valid && at(row, 0).adder.back().lane == 0) {
            s.seen = true;
        }
    }
    if (!begins && s.issued && s.moved == plan_.group_values()) {
        if (++s.group == pass_.steps) {
            s.phase = Phase::done;
            control.end = true;
            return control;
        }
        begins = true;
    }
    if (begins) {
        s.round = s.lane = s.moved = 0;
        s.issued = s.seen = false;
        s.bank ^= 1;
        s.fill_group = s.group + 1;
    }
    if (!s.issued && s.lane < plan_.lanes()) {
        control.issue = true;
        control.round = s.round;
        control.lane = s.lane++;
        control.first = s.group == 0 && s.round == 0;
        control.last = plan_.ws() && s.round == plan_.cut.values - 1;
        control.bank = s.bank;
        control.set = static_cast<int>(plan_.ws() ? pass_.load % plan_.stce.packed_sets
                                                  : (next_pass_ - 1) % plan_.stce.accumulator_sets);
    }
    return control;
}

/// The row's next word of streamed values; after the last group an idle group of zeros moves.
LinkWord Machine::feed_row(int row) {
    Sequencer& s = sequencers_[static_cast<size_t>(row)];
    LinkWord word;
    if ((s.phase != Phase::fill && s.phase != Phase::run) || s.moved == plan_.group_values()) return word;
    word.valid = true;
    word.bank = s.bank ^ 1;
    word.position = s.moved;
    for (int v = 0; v < plan_.stce.row_link_values && s.moved < plan_.group_values(); ++v, ++s.moved) {
        const int pixel = s.moved / plan_.cut.group, position = s.moved % plan_.cut.group;
        const int64_t group = plan_.ws() ? pass_.reduction * rows_ + row : s.fill_group;
        const int64_t local = plan_.ws() ? s.fill_group * plan_.pixel_lanes() + pixel
                                         : int64_t{row} * plan_.pixel_lanes() + pixel;
        Operand operand;
        if (s.fill_group < pass_.steps && local < pass_.rows)
            operand.value = plan_.streamed_value(pass_.first_row + local, plan_.product.m, group, position);
        operand.entered = cycle_;
        word.values.push_back(operand);
    }
    return word;
}

/// OS: the packed entry that column `col` needs for the slot its top element issues.
EntryWord Machine::feed_column(int col, const Control& control) {
    EntryWord word;
    if (!control.issue || (plan_.mapping.interleave_pixels && control.lane > 0)) return word;
    const int64_t slots = int64_t{plan_.cut.values} * plan_.column_lanes();
    const int64_t group = sent_[static_cast<size_t>(col)] / slots,
                  slot = sent_[static_cast<size_t>(col)] % slots;
    ++sent_[static_cast<size_t>(col)];
    const int lane = static_cast<int>(slot % plan_.column_lanes()),
              n = static_cast<int>(slot / plan_.column_lanes());
    const EnginePlan::Entry entry = plan_.entry(plan_.output_column(pass_, col, lane), group, n);
    word.valid = true;
    word.entry = {entry.value, entry.index, cycle_};
    return word;
}

/// WS: the loader's word for column `col` in this cycle, the bottom row's entries first.
LoadWord Machine::feed_load(int col) {
    LoadWord word;
    if (!loader_.active) return word;
    const int link = plan_.stce.column_link_values, entries = plan_.column_lanes() * plan_.cut.values;
    const int per_row = (entries + link - 1) / link;
    const EnginePlan::Pass pass = plan_.pass(plan_.pass_of_load(loader_.load));
    word.valid = true;
    word.row = rows_ - 1 - static_cast<int>(loader_.cycle / per_row);
    word.set = static_cast<int>(loader_.load % plan_.stce.packed_sets);
    word.position = static_cast<int>(loader_.cycle % per_row) * link;
    for (int e = word.position; e < std::min(entries, word.position + link); ++e) {
        const int lane = e % plan_.column_lanes(), n = e / plan_.column_lanes();
        const EnginePlan::Entry entry =
            plan_.entry(plan_.output_column(pass, col, lane), pass.reduction * rows_ + word.row, n);
        word.entries.push_back({entry.value, entry.index, cycle_});
    }
    return word;
}

/// WS: the sum that enters the top of a column: in the first reduction pass +0 or a stored sum, else what the
/// pass before left.
Sum Machine::inject(int col, const Control& control) {
    if (!plan_.ws() || !control.issue || control.round != 0) return {};
    const int64_t at = injected_[static_cast<size_t>(col)]++;
    return buffer_[static_cast<size_t>(at * cols_ + col)];
}

/// WS: the sum that leaves the bottom of a column.
void Machine::collect(int col) {
    const Stage& out = at(rows_ - 1, col).adder.back();
    if (!plan_.ws() || !out.valid) return;
    if (!out.last) return;
    const int64_t place = collected_[static_cast<size_t>(col)]++;
    ENMESH_ASSERT(place % plan_.lanes() == out.lane);
    buffer_[static_cast<size_t>(place * cols_ + col)] = out.sum;
    if (events_ == nullptr || !pass_.last_reduction) return;
    const int64_t step = place / plan_.lanes();
    const int64_t row = step * plan_.pixel_lanes() + (plan_.pixel_lanes() > 1 ? out.lane : 0);
    const int64_t column = plan_.output_column(pass_, col, out.lane);
    if (row < pass_.rows && column < plan_.product.n)
        (*events_)[static_cast<size_t>((pass_.first_row + row) * plan_.product.n + column)] = {out.sum.newest,
                                                                                               cycle_};
}

/// OS: the words that leave the columns while a tile drains, the bottom row's lane 0 first.
void Machine::collect_drain() {
    if (!drain_.active) return;
    const int row = rows_ - 1 - static_cast<int>(drain_.cycle / plan_.lanes());
    const int lane = static_cast<int>(drain_.cycle % plan_.lanes());
    const auto set = static_cast<size_t>(drain_.tile % plan_.stce.accumulator_sets);
    for (int col = 0; col < cols_; ++col) {
        const Sum sum = at(rows_ - 1, col).sums[set][0];
        const int64_t local = int64_t{row} * plan_.pixel_lanes() + (plan_.pixel_lanes() > 1 ? lane : 0);
        const int64_t column = plan_.output_column(drained_pass_, col, lane);
        if (local >= drained_pass_.rows || column >= plan_.product.n) continue;
        const auto to = static_cast<size_t>((drained_pass_.first_row + local) * plan_.product.n + column);
        out_[to] = canonical(sum.value);
        if (events_ != nullptr) (*events_)[to] = {sum.newest, cycle_};
    }
}

/// The output's running sum: from the adder if it comes out in this very cycle, else from the accumulator.
Sum Machine::own_sum(const Element& element, const Control& control) const {
    for (size_t s = 0; s + 1 < element.adder.size(); ++s)
        ENMESH_ASSERT(!(element.adder[s].valid && element.adder[s].lane == control.lane));
    const Stage& out = element.adder.back();
    if (out.valid && !out.last && out.lane == control.lane && out.set == control.set) return out.sum;
    const auto set = static_cast<size_t>(plan_.ws() ? 0 : control.set);
    return element.sums[set][static_cast<size_t>(control.lane)];
}

Stage Machine::issue(Element& element, const Inputs& in, int row) const {
    const Control& control = in.control;
    Stage stage;
    stage.end = control.end;
    if (!control.issue) return stage;
    Operand entry;
    const bool pixels = plan_.mapping.interleave_pixels;
    if (plan_.ws()) {
        const int slot = pixels ? control.round : control.round * plan_.lanes() + control.lane;
        entry = element.packed[static_cast<size_t>(control.set)][static_cast<size_t>(slot)];
    } else if (pixels && control.lane > 0) {
        entry = element.held;
    } else {
        ENMESH_ASSERT(in.entry.valid);
        entry = element.held = in.entry.entry;
    }
    const int pixel = pixels ? control.lane : 0;
    const auto position = static_cast<size_t>(pixel * plan_.cut.group + entry.index);
    const Operand streamed = element.latch[static_cast<size_t>(control.bank)][position];
    Sum before;
    if (plan_.ws() && control.round == 0)
        before = in.north;
    else if (!control.first)
        before = own_sum(element, control);
    if (plan_.ws() && row > 0 && control.round == 0) ENMESH_ASSERT(before.newest >= 0);
    stage.valid = true;
    stage.last = control.last;
    stage.lane = control.lane;
    stage.set = control.set;
    const float product = to_float(streamed.value) * to_float(entry.value);
    stage.sum.value = before.value + product;
    stage.sum.newest = std::max({before.newest, streamed.entered, entry.entered});
    return stage;
}

void Machine::clock(Element& element, const Inputs& in, int row) {
    const Stage stage = issue(element, in, row);
    const Stage out = element.adder.back();
    if (out.valid && !out.last) {
        const auto set = static_cast<size_t>(plan_.ws() ? 0 : out.set);
        element.sums[set][static_cast<size_t>(out.lane)] = out.sum;
    }
    element.adder.pop_back();
    element.adder.insert(element.adder.begin(), stage);
    if (in.link.valid)
        std::copy(in.link.values.begin(), in.link.values.end(),
                  element.latch[static_cast<size_t>(in.link.bank)].begin() + in.link.position);
    if (in.load.valid && in.load.row == row)
        std::copy(in.load.entries.begin(), in.load.entries.end(),
                  element.packed[static_cast<size_t>(in.load.set)].begin() + in.load.position);
    if (in.shift) {
        auto& set = element.sums[static_cast<size_t>(in.shift_set)];
        std::shift_left(set.begin(), set.end(), 1);
        set.back() = in.shift_in;
    }
    element.control_out = in.control;
    element.link_out = in.link;
    element.entry_out = in.entry;
    element.load_out = in.load;
}

bool Machine::tick() {
    control_loader();
    control_passes();
    if (plan_.ws() && !loader_.active && loader_.done < loads()) {
        // A set is free once the pass that used it last is over: with two sets when the pass before begins.
        const int64_t current = next_pass_ == 0 ? -1 : plan_.pass(next_pass_ - 1).load;
        const bool between =
            !running_ && (next_pass_ == plan_.cut.passes || plan_.pass(next_pass_).load == loader_.done);
        const bool free = plan_.stce.packed_sets == 2 ? loader_.done <= current + 1 : between;
        if (free) {
            loader_.active = true;
            loader_.load = loader_.done;
            loader_.cycle = 0;
        }
    }
    const bool finished = next_pass_ == plan_.cut.passes && !running_ && !drain_.active &&
                          (plan_.ws() || drain_.done == plan_.cut.passes);
    if (finished) return false;

    std::vector<Inputs> inputs(elements_.size());
    const auto shift_set = static_cast<int>(drain_.tile % plan_.stce.accumulator_sets);
    std::vector<Control> starts(static_cast<size_t>(rows_));
    if (running_)
        for (int row = 0; row < rows_; ++row) starts[static_cast<size_t>(row)] = sequence(row);
    for (int row = 0; row < rows_; ++row)
        for (int col = 0; col < cols_; ++col) {
            Inputs& in = inputs[static_cast<size_t>(row * cols_ + col)];
            if (col > 0) {
                in.control = at(row, col - 1).control_out;
                in.link = at(row, col - 1).link_out;
            } else if (running_) {
                in.control = starts[static_cast<size_t>(row)];
                in.link = feed_row(row);
            }
            if (row > 0) {
                in.entry = at(row - 1, col).entry_out;
                in.load = at(row - 1, col).load_out;
                const Stage& above = at(row - 1, col).adder.back();
                if (above.valid && above.last) in.north = above.sum;
                if (drain_.active) in.shift_in = at(row - 1, col).sums[static_cast<size_t>(shift_set)][0];
            } else {
                if (!plan_.ws()) in.entry = feed_column(col, in.control);
                in.load = feed_load(col);
                in.north = inject(col, in.control);
            }
            in.shift = drain_.active;
            in.shift_set = shift_set;
        }
    for (int col = 0; col < cols_; ++col)
        if (running_) collect(col);
    collect_drain();
    for (int row = 0; row < rows_; ++row)
        for (int col = 0; col < cols_; ++col)
            clock(at(row, col), inputs[static_cast<size_t>(row * cols_ + col)], row);
    if (loader_.active) ++loader_.cycle;
    if (drain_.active) ++drain_.cycle;
    ++cycle_;
    return true;
}

}  // namespace naive

EngineRun run_naive(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                    std::span<const Half> streamed, const IndexedOperand& indexed,
                    std::vector<OutputEvent>* events, std::span<const float> start) {
    const EnginePlan plan(stce, product, mapping, streamed, indexed, start);
    const auto begin = std::chrono::steady_clock::now();
    naive::Machine machine(plan, events);
    while (machine.tick()) {
    }
    EngineRun run;
    run.cycles = machine.cycle();
    run.element_cycles = run.cycles * stce.rows * stce.cols;
    run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    run.out = machine.take_out();
    return run;
}

std::string state_at(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
                     std::span<const Half> streamed, const IndexedOperand& indexed, int64_t cycle,
                     std::span<const float> start) {
    const EnginePlan plan(stce, product, mapping, streamed, indexed, start);
    if (cycle < 0) refuse("state at cycle {}: cycles count from 0", cycle);
    naive::Machine machine(plan, nullptr);
    while (machine.cycle() < cycle)
        if (!machine.tick())
            refuse("state at cycle {}: the product is done after {} cycles (0..{})", cycle, machine.cycle(),
                   machine.cycle());
    return machine.render();
}

}  // namespace enmesh::accel::sat
