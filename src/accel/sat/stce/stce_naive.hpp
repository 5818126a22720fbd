#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "accel/sat/stce/stce_plan.hpp"

// The oracle: every register of docs/sat.md is a member here, every element an object, and a cycle is two
// phases: all elements sample their neighbours' registers, then all clock. No latency is ever computed: rows
// start on tokens, rounds wait for sums, groups wait for latches. Values carry the cycle in which they
// entered the array, so that causality can be tested.
namespace enmesh::accel::sat::naive {

/// An FP16 value on a link or in a latch, and the cycle in which it entered the array.
struct Operand {
    Half value;
    uint8_t index = 0;  ///< of a packed entry
    int64_t entered = -1;
};

/// An FP32 partial sum and the youngest operand in it.
struct Sum {
    float value = 0;
    int64_t newest = -1;
};

/// What a row's sequencer tells its elements; one column per cycle.
struct Control {
    bool issue = false;
    bool end = false;    ///< end of the pass
    bool first = false;  ///< OS: the output's first product
    bool last = false;   ///< WS: the row's last product of this output; the sum leaves downwards
    int round = 0;       ///< n
    int lane = 0;        ///< q
    int bank = 0;        ///< latch bank read
    int set = 0;         ///< packed set (WS) or accumulator set (OS)
};

/// Streamed values on a row link, bound for a latch bank from `position` on.
struct LinkWord {
    bool valid = false;
    int bank = 0;
    int position = 0;
    std::vector<Operand> values;
};

/// A packed entry travelling down a column link (OS).
struct EntryWord {
    bool valid = false;
    Operand entry;
};

/// Packed entries travelling down a column link to one row's storage (WS).
struct LoadWord {
    bool valid = false;
    int row = 0;
    int set = 0;
    int position = 0;
    std::vector<Operand> entries;
};

/// A stage of the multiply-add pipeline.
struct Stage {
    bool valid = false;
    bool end = false;
    bool last = false;
    int lane = 0;
    int set = 0;
    Sum sum;
};

struct Element {
    std::array<std::vector<Operand>, 2> latch;   ///< [bank][pixel * M + position]
    std::array<std::vector<Operand>, 2> packed;  ///< [set][slot], WS
    std::array<std::vector<Sum>, 2> sums;        ///< [set][lane]
    Operand held;                                ///< OS with interleaved pixels: the entry of this round
    std::vector<Stage> adder;                    ///< L stages; the back one is visible
    Control control_out;
    LinkWord link_out;
    EntryWord entry_out;
    LoadWord load_out;
};

/// What an element sees in a cycle.
struct Inputs {
    Control control;
    LinkWord link;
    EntryWord entry;
    LoadWord load;
    Sum north;
    bool shift = false;  ///< drain: the accumulator set `shift_set` shifts one word down
    int shift_set = 0;
    Sum shift_in;
};

enum class Phase { idle, fill, wait, run, done };
struct Sequencer {
    Phase phase = Phase::idle;
    int64_t group = 0;       ///< being issued
    int64_t fill_group = 0;  ///< being moved over the row link
    int moved = 0;           ///< its values already on the link
    int round = 0;
    int lane = 0;
    bool issued = false;  ///< all rounds of the group
    bool seen = false;    ///< the round's first sum has come out of the adder
    int bank = 0;         ///< latch bank read; the other one fills
};

struct Loader {
    bool active = false;
    int64_t load = 0;   ///< which load
    int64_t cycle = 0;  ///< since its start
    int64_t done = 0;   ///< loads complete
};

struct Drain {
    bool active = false;
    int64_t tile = 0;
    int64_t cycle = 0;
    int64_t done = 0;  ///< tiles complete
};

class Machine {
  public:
    Machine(const EnginePlan& plan, std::vector<OutputEvent>* events);
    /// One cycle; false once the engine is done (and nothing happens any more).
    bool tick();
    int64_t cycle() const { return cycle_; }
    std::vector<float> take_out() { return std::move(out_); }
    std::string render() const;
    /// What hardware is held against, register by register (tests/rtl).
    const Element& element(int row, int col) const { return at(row, col); }
    const Sequencer& sequencer(int row) const { return sequencers_[static_cast<size_t>(row)]; }
    const Drain& drain() const { return drain_; }

  private:
    Element& at(int row, int col) { return elements_[static_cast<size_t>(row * cols_ + col)]; }
    const Element& at(int row, int col) const { return elements_[static_cast<size_t>(row * cols_ + col)]; }

    void control_passes();
    void control_loader();
    void start_pass();
    void fill_output_buffer();
    void finish_pass();
    void finish_drain();
    int64_t loads() const { return plan_.cut.loads; }

    Control sequence(int row);
    bool round_over(const Sequencer& s, int row) const;
    LinkWord feed_row(int row);
    EntryWord feed_column(int col, const Control& control);
    LoadWord feed_load(int col);
    Sum inject(int col, const Control& control);
    void collect(int col);
    void collect_drain();
    void clock(Element& element, const Inputs& in, int row);
    Stage issue(Element& element, const Inputs& in, int row) const;
    Sum own_sum(const Element& element, const Control& control) const;

    const EnginePlan& plan_;
    const int rows_, cols_;
    std::vector<Element> elements_;
    std::vector<Sequencer> sequencers_;
    std::vector<int64_t> injected_, collected_, sent_;  ///< per column, since the pass began
    std::vector<Sum> buffer_;                           ///< WS output buffer of the tile, [step][lane][col]
    EnginePlan::Pass pass_;
    bool running_ = false;
    int64_t next_pass_ = 0;
    Loader loader_;
    Drain drain_;
    EnginePlan::Pass drained_pass_;
    int64_t cycle_ = 0;
    std::vector<float> out_;
    std::vector<OutputEvent>* events_;
};

}  // namespace enmesh::accel::sat::naive
