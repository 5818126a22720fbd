#include <fmt/core.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <sstream>

#include "enmesh/accel/sat/sore.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/accel/sat/wuve.hpp"

namespace enmesh::accel::sat {
namespace {

std::string documentation() {
    std::ifstream file(ENMESH_SOURCE_DIR "/docs/sat.md");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<Half> halves(std::initializer_list<int> values) {
    std::vector<Half> result;
    for (const int value : values) result.push_back(to_half(static_cast<float>(value)));
    return result;
}

/// "issue round 1 lane 0 bank 0 set 0 last" as "n1q0v".
std::string short_control(const std::string& line) {
    std::istringstream words(line);
    std::string word, text;
    while (words >> word) {
        if (word == "end" || word == "-") return word;
        if (word == "last") text += "v";
        if (word == "round" && words >> word) text += "n" + word;
        if (word == "lane" && words >> word) text += "q" + word;
    }
    return text;
}

/// "20(41a00000)@0v" as "20@0v".
std::string without_bits(const std::string& text) {
    std::string result;
    bool bits = false;
    for (const char c : text) {
        bits = bits || c == '(';
        if (!bits) result += c;
        bits = bits && c != ')';
    }
    return result;
}

/// One line of the documented table from the machine's state.
std::string table_line(const std::string& state) {
    std::istringstream lines(state);
    std::string line, cycle, phases, elements, adder;
    while (std::getline(lines, line)) {
        std::istringstream words(line);
        std::string word, row, phase;
        words >> word;
        const std::string rest = line.substr(line.find(word) + word.size());
        if (word == "cycle") words >> cycle;
        if (word == "row" && words >> row >> phase) phases += fmt::format(" {:<4}", phase);
        if (word == "adder") adder = without_bits(rest.substr(rest.find_first_not_of(' ')));
        if (word == "control") elements += fmt::format(" | {:<5} {:<11}", short_control(rest), adder);
    }
    std::string result = fmt::format("{:>2}{}{}", cycle, phases, elements);
    result.resize(result.find_last_not_of(' ') + 1);
    return result;
}

TEST(StceDocumentation, TheWorkedExamplesAreWhatTheMachineDoes) {
    Stce stce;
    stce.rows = stce.cols = stce.adder_latency = 2;
    stce.row_link_values = stce.column_link_values = 2;
    const EngineProduct product = {2, 4, 8, {2, 4}};
    const std::vector<Half> streamed = halves({1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1});
    const std::vector<Half> weights = halves({1, 2, 0, 0, 0, 0, 1, 1, 0, 0, 3, 1, 2, 0, 0, 1,  //
                                              4, 0, 0, 1, 0, 1, 2, 0, 0, 1, 1, 0, 1, 0, 0, 5});
    const IndexedOperand packed = packed_operand(weights, {}, 4, 8, {2, 4});
    ASSERT_EQ(unpacked_operand(packed), weights);

    for (const Dataflow dataflow : {Dataflow::ws, Dataflow::os}) {
        const EngineMapping mapping = {dataflow, 2};
        const EngineRun run = run_naive(stce, product, mapping, streamed, packed);
        EXPECT_EQ(run.cycles, dataflow == Dataflow::ws ? 21 : 18);
        EXPECT_EQ(run.out, (std::vector<float>{20, 31, 28, 50, 25, 32, 44, 22}));
        std::string table = "```cycles\n";
        for (int64_t cycle = 0; cycle <= run.cycles; ++cycle)
            table += table_line(state_at(stce, product, mapping, streamed, packed, cycle)) + "\n";
        EXPECT_NE(documentation().find(table + "```"), std::string::npos) << "the machine does:\n" << table;
    }
}

/// Every "value(bits)" of the text: the digits must read back as the value of those bits.
int values_that_read_back(const std::string& state) {
    int count = 0;
    for (size_t open = state.find('('); open != std::string::npos; open = state.find('(', open + 1)) {
        const std::string bits = state.substr(open + 1, state.find(')', open) - open - 1);
        const size_t begin = state.find_last_of(" :", open) + 1;
        const float digits = std::stof(state.substr(begin, open - begin));
        const auto word = static_cast<uint32_t>(std::stoul(bits, nullptr, 16));
        const float value =
            bits.size() == 4 ? to_float(Half{static_cast<uint16_t>(word)}) : std::bit_cast<float>(word);
        EXPECT_EQ(std::bit_cast<uint32_t>(digits), std::bit_cast<uint32_t>(value)) << state.substr(begin, 40);
        count += digits == std::floor(digits) ? 0 : 1;
    }
    return count;
}

TEST(StceDocumentation, RegistersReadBackBitForBit) {
    Stce stce;
    stce.rows = stce.cols = 2;
    const EngineProduct product = {2, 4, 16, {2, 4}};
    std::vector<Half> streamed, weights;
    for (size_t i = 0; i < 32; ++i) streamed.push_back(to_half(std::sin(static_cast<float>(i + 1))));
    for (size_t i = 0; i < 64; ++i)
        weights.push_back(to_half(i % 4 < 2 ? -std::cos(static_cast<float>(i)) : 0.0F));
    const IndexedOperand packed = packed_operand(weights, {}, 4, 16, {2, 4});
    for (const Dataflow dataflow : {Dataflow::ws, Dataflow::os}) {
        const EngineMapping mapping = {dataflow, 2};
        const EngineRun run = run_naive(stce, product, mapping, streamed, packed);
        int fractions = 0;
        for (int64_t cycle = 0; cycle < run.cycles; ++cycle)
            fractions += values_that_read_back(state_at(stce, product, mapping, streamed, packed, cycle));
        EXPECT_GT(fractions, 100);
    }
}

/// A line of the text that has both.
bool has_line(const std::string& text, const std::string& begin, const std::string& end) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        if (line.find(begin) != std::string::npos && line.ends_with(end)) return true;
    return false;
}

TEST(StceDocumentation, RangesAndDefaultsAreTheCodes) {
    const std::string text = documentation();
    for (const auto& range : stce_ranges()) {
        const std::string end = fmt::format("| {} | {}..{} |", Stce{}.*range.field, range.least, range.most);
        EXPECT_TRUE(has_line(text, fmt::format("`{}`", range.name), end)) << range.name << " " << end;
    }
    const auto in_words = [&](const auto& engine, const auto& ranges) {
        for (const auto& range : ranges) {
            const std::string words =
                fmt::format("(default {}, {}..{})", engine.*range.field, range.least, range.most);
            const size_t at = text.find(words);
            ASSERT_NE(at, std::string::npos) << range.name << " " << words;
            EXPECT_NE(text.substr(at - 80, 80).find(fmt::format("{}", range.name)), std::string::npos);
        }
    };
    in_words(Sore{}, sore_ranges());
    in_words(Wuve{}, wuve_ranges());
}

TEST(StceDocumentation, TheVectorTableIsTheCodes) {
    const std::string text = documentation();
    std::string table;
    for (const VectorCost& cost : vector_costs())
        table += fmt::format("| `{}` | {} | {} | {} | {} |\n", cost.name, cost.passes, cost.lane_ops,
                             cost.read_bytes, cost.write_bytes);
    EXPECT_NE(text.find(table), std::string::npos) << "the code says:\n" << table;
}

}  // namespace
}  // namespace enmesh::accel::sat
