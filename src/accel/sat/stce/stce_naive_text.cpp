#include <bit>
#include <iterator>

#include "accel/sat/stce/stce_naive.hpp"
#include "enmesh/base/error.hpp"

/// The naive machine's registers as text.
namespace enmesh::accel::sat::naive {
namespace {

const char* name_of(Phase phase) {
    static constexpr std::array names = {"idle", "fill", "wait", "run", "done"};
    return names[static_cast<size_t>(phase)];
}

/// The shortest digits that read back as the same value, and its bits, which an RTL trace shows.
std::string text(Half value) { return fmt::format("{}({:04x})", to_float(value), value.bits); }
std::string text(float value) { return fmt::format("{}({:08x})", value, std::bit_cast<uint32_t>(value)); }

std::string text(const std::vector<Operand>& operands, bool indices) {
    std::string line;
    for (const Operand& operand : operands)
        line +=
            indices ? fmt::format(" {}@{}", text(operand.value), operand.index) : " " + text(operand.value);
    return line;
}

std::string text(const Control& control) {
    if (control.end) return "end";
    if (!control.issue) return "-";
    return fmt::format("issue round {} lane {} bank {} set {}{}{}", control.round, control.lane, control.bank,
                       control.set, control.first ? " first" : "", control.last ? " last" : "");
}

std::string text(const Stage& stage) {
    if (stage.end) return " end";
    if (!stage.valid) return " -";
    return fmt::format(" {}@{}{}", text(stage.sum.value), stage.lane, stage.last ? "v" : "");
}

std::string render_element(const Element& element, const EnginePlan& plan) {
    std::string lines;
    const auto out = std::back_inserter(lines);
    for (size_t bank = 0; bank < 2; ++bank)
        fmt::format_to(out, "  latch{} {}\n", bank, text(element.latch[bank], false));
    if (plan.ws())
        for (int set = 0; set < plan.stce.packed_sets; ++set)
            fmt::format_to(out, "  packed{}{}\n", set, text(element.packed[static_cast<size_t>(set)], true));
    const int sets = plan.ws() ? 1 : plan.stce.accumulator_sets;
    for (int set = 0; set < sets; ++set) {
        fmt::format_to(out, "  sums{}  ", set);
        for (const Sum& sum : element.sums[static_cast<size_t>(set)]) lines += " " + text(sum.value);
        lines += '\n';
    }
    lines += "  adder  ";
    for (const Stage& stage : element.adder) lines += text(stage);
    fmt::format_to(out, "\n  control {}\n  link   {}\n", text(element.control_out),
                   element.link_out.valid ? text(element.link_out.values, false) : " -");
    if (plan.ws())
        fmt::format_to(out, "  load   {}\n",
                       element.load_out.valid ? fmt::format(" row {} set {} from {}:{}", element.load_out.row,
                                                            element.load_out.set, element.load_out.position,
                                                            text(element.load_out.entries, true))
                                              : " -");
    else
        fmt::format_to(out, "  entry   {}\n  held    {}@{}\n",
                       element.entry_out.valid ? fmt::format("{}@{}", text(element.entry_out.entry.value),
                                                             element.entry_out.entry.index)
                                               : "-",
                       text(element.held.value), element.held.index);
    return lines;
}

}  // namespace

std::string Machine::render() const {
    std::string lines = fmt::format("cycle {}\n", cycle_);
    const auto out = std::back_inserter(lines);
    fmt::format_to(out, "controller pass {} of {} {}\n", running_ ? next_pass_ - 1 : next_pass_,
                   plan_.cut.passes, running_ ? "running" : "waiting");
    if (plan_.ws())
        fmt::format_to(out, "loader {} load {} cycle {} done {}\n", loader_.active ? "active" : "idle",
                       loader_.load, loader_.cycle, loader_.done);
    else
        fmt::format_to(out, "drain {} tile {} cycle {} done {}\n", drain_.active ? "active" : "idle",
                       drain_.tile, drain_.cycle, drain_.done);
    for (int row = 0; row < rows_; ++row) {
        const Sequencer& s = sequencers_[static_cast<size_t>(row)];
        fmt::format_to(out,
                       "row {} {} group {} round {} lane {} issued {} seen {} bank {} filling {} moved {}\n",
                       row, name_of(s.phase), s.group, s.round, s.lane, s.issued ? 1 : 0, s.seen ? 1 : 0,
                       s.bank, s.fill_group, s.moved);
    }
    for (int row = 0; row < rows_; ++row)
        for (int col = 0; col < cols_; ++col)
            lines += fmt::format("element {} {}\n", row, col) + render_element(at(row, col), plan_);
    return lines;
}

}  // namespace enmesh::accel::sat::naive
