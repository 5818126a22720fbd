#include "enmesh/accel/sat/vector_pass.hpp"

#include <algorithm>
#include <bit>

#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

constexpr uint32_t update_bit = 1U << 8, alone_bit = 1U << 9, columns_bit = 1U << 10, rows_bit = 1U << 11;

uint32_t field(uint32_t word, int low, int bits) { return (word >> low) & ((1U << bits) - 1); }

/// Words 4 and up that an operation reads: the others must be 0.
size_t constants_of(const VectorPass& pass) {
    if (pass.operation.empty()) return 0;
    if (pass.updates_weights() && pass.operation != "adam_update") return 4;
    return pass.constants.size();
}

void check(const VectorPass& pass) {
    const std::string what = pass.operation.empty() ? "SORE alone" : pass.operation;
    if (!pass.operation.empty()) vector_cost(pass.operation);
    const bool patterned = pass.pattern != Pattern{};
    if (patterned) check_pattern(pass.pattern);
    if (pass.packs() && !patterned) refuse("vector pass {}: it packs and has no pattern", what);
    if ((pass.operation == "mvue" || pass.operation == "transposable_mask") && !patterned)
        refuse("vector pass {}: it chooses among groups and has no pattern", what);
    if ((pass.along_columns || pass.along_rows) && !pass.updates_weights())
        refuse("vector pass {}: only a weight update packs along with its lanes", what);
    if (pass.ranks != RankSource::masters && !pass.packs())
        refuse("vector pass {}: it names ranks and packs nothing", what);
    if (pass.elements == 0 || pass.rounds == 0 || (pass.columns == 0) == pass.updates_weights())
        refuse("vector pass {}: it has {} elements, {} columns and {} rounds", what, pass.elements,
               pass.columns, pass.rounds);
    const auto* const rest = pass.constants.begin() + constants_of(pass);
    if (std::any_of(rest, pass.constants.end(), [](float c) { return std::bit_cast<uint32_t>(c) != 0; }))
        refuse("vector pass {}: it reads {} constants and has more", what, constants_of(pass));
}

}  // namespace

VectorWords encode(const VectorPass& pass) {
    check(pass);
    VectorWords words{};
    if (pass.operation.empty())
        words[0] |= alone_bit;
    else
        words[0] |= static_cast<uint32_t>(&vector_cost(pass.operation) - vector_costs().data());
    if (pass.updates_weights()) words[0] |= update_bit;
    if (pass.along_columns) words[0] |= columns_bit;
    if (pass.along_rows) words[0] |= rows_bit;
    const int group = pass.pattern.m > 0 ? pass.pattern.m : Pattern::max_m;
    words[0] |= static_cast<uint32_t>(pass.pattern.n) << 12 | static_cast<uint32_t>(group) << 20 |
                static_cast<uint32_t>(pass.ranks) << 28;
    words[1] = pass.elements;
    words[2] = pass.columns;
    words[3] = pass.rounds;
    for (size_t i = 0; i < pass.constants.size(); ++i)
        words[4 + i] = std::bit_cast<uint32_t>(pass.constants[i]);
    return words;
}

VectorPass decode(const VectorWords& words) {
    VectorPass pass;
    const uint32_t row = field(words[0], 0, 8), ranks = field(words[0], 28, 2);
    if ((words[0] & alone_bit) == 0) {
        if (row >= vector_costs().size())
            refuse("configuration word 0 is {:#010x}: there is no row {}", words[0], row);
        pass.operation = vector_costs()[row].name;
    }
    if (ranks > static_cast<uint32_t>(RankSource::mask))
        refuse("configuration word 0 is {:#010x}: ranks are 0, 1 or 2", words[0]);
    pass.ranks = static_cast<RankSource>(ranks);
    if (const auto n = static_cast<int>(field(words[0], 12, 5)); n > 0)
        pass.pattern = {n, static_cast<int>(field(words[0], 20, 5))};
    pass.along_columns = (words[0] & columns_bit) != 0;
    pass.along_rows = (words[0] & rows_bit) != 0;
    pass.elements = words[1];
    pass.columns = words[2];
    pass.rounds = words[3];
    for (size_t i = 0; i < pass.constants.size(); ++i) pass.constants[i] = std::bit_cast<float>(words[4 + i]);
    if (encode(pass) != words)
        refuse("configuration words do not agree with each other (word 0 is {:#010x})", words[0]);
    return pass;
}

}  // namespace enmesh::accel::sat
