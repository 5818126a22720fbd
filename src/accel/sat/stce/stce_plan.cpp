#include "accel/sat/stce/stce_plan.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

uint32_t field(uint32_t word, int low, int bits) { return (word >> low) & ((1U << bits) - 1); }

}  // namespace

EngineWords encode(const EngineProduct& product, const EngineMapping& mapping) {
    const EngineTiling cut = tiling({}, product, mapping);
    EngineWords words{};
    words[0] = (mapping.dataflow == Dataflow::os ? 1U : 0U) | (mapping.interleave_pixels ? 2U : 0U) |
               (product.resume ? 4U : 0U) | static_cast<uint32_t>(cut.values) << 4 |
               static_cast<uint32_t>(cut.group) << 12 | static_cast<uint32_t>(mapping.interleave) << 20;
    words[1] = static_cast<uint32_t>(product.m);
    words[2] = static_cast<uint32_t>(product.n);
    words[3] = static_cast<uint32_t>(product.k);
    words[4] = static_cast<uint32_t>(mapping.dataflow == Dataflow::ws ? cut.rows_per_tile : 0);
    words[5] = static_cast<uint32_t>(cut.groups);
    return words;
}

DecodedWords decode(const EngineWords& words) {
    const int values = static_cast<int>(field(words[0], 4, 5)),
              group = static_cast<int>(field(words[0], 12, 5));
    DecodedWords decoded;
    decoded.product = {words[1], words[2], words[3], {}};
    if (values != group) decoded.product.pattern = {values, group};
    decoded.product.resume = field(words[0], 2, 1) != 0;
    decoded.mapping.dataflow = field(words[0], 0, 1) != 0 ? Dataflow::os : Dataflow::ws;
    decoded.mapping.interleave_pixels = field(words[0], 1, 1) != 0;
    decoded.mapping.interleave = static_cast<int>(field(words[0], 20, 7));
    decoded.mapping.group = group;
    decoded.mapping.tile_m = words[4];
    if (group < 1 || group > Pattern::max_m || decoded.mapping.interleave < 1)
        refuse("configuration word 0 is {:#010x}: M and I must be at least 1, M at most 16", words[0]);
    if (decoded.product.resume && decoded.mapping.dataflow == Dataflow::os)
        refuse("configuration word 0 is {:#010x}: only ws products resume stored sums", words[0]);
    check(decoded.product);
    if (encode(decoded.product, decoded.mapping) != words)
        refuse("configuration words do not agree with each other (word 0 is {:#010x}, word 5 is {})",
               words[0], words[5]);
    return decoded;
}

void check_run(const Stce& stce, const EngineProduct& product, const EngineMapping& mapping,
               std::span<const Half> streamed, const IndexedOperand& indexed, std::span<const float> start) {
    check(stce);
    check(product);
    if (const std::string reason = why_illegal(stce, product, mapping); !reason.empty())
        refuse("mapping does not fit the STCE: {}", reason);
    const EngineTiling cut = tiling(stce, product, mapping);
    if (streamed.size() != static_cast<size_t>(product.m * product.k))
        refuse("streamed operand has {} values: {} x {} takes {}", streamed.size(), product.m, product.k,
               product.m * product.k);
    if (indexed.n != product.n || indexed.k != product.k)
        refuse("indexed operand is {} x {}: the product needs {} x {}", indexed.n, indexed.k, product.n,
               product.k);
    if (indexed.values != cut.values || indexed.group != cut.group || indexed.groups != cut.groups)
        refuse("indexed operand is packed {}:{} in {} groups: the mapping needs {}:{} in {}", indexed.values,
               indexed.group, indexed.groups, cut.values, cut.group, cut.groups);
    const auto entries = static_cast<size_t>(indexed.n * indexed.groups * indexed.values);
    if (indexed.entries.size() != entries || indexed.indices.size() != entries)
        refuse("indexed operand has {} entries and {} indices: it must have {}", indexed.entries.size(),
               indexed.indices.size(), entries);
    for (size_t i = 0; i < entries; ++i) {
        const bool fits = product.dense() ? indexed.indices[i] == i % static_cast<size_t>(cut.group)
                                          : indexed.indices[i] < cut.group;
        if (!fits) refuse("indexed operand: entry {} has index {}, outside its group", i, indexed.indices[i]);
    }
    const auto sums = static_cast<size_t>(product.resume ? product.m * product.n : 0);
    if (start.size() != sums)
        refuse("{} start sums: a product that {} takes {}", start.size(),
               product.resume ? "resumes" : "begins at +0", sums);
    for (size_t i = 0; i < sums; ++i)
        if (std::bit_cast<uint32_t>(start[i]) == 0x80000000U)
            refuse("start sum {} is -0: a stored sum never is", i);
}

EnginePlan::EnginePlan(const Stce& array, const EngineProduct& wanted, const EngineMapping& chosen,
                       std::span<const Half> values, const IndexedOperand& packed,
                       std::span<const float> sums)
    : stce(array), streamed(values), indexed(&packed), start(sums) {
    check_run(array, wanted, chosen, values, packed, sums);
    const DecodedWords words = decode(encode(wanted, chosen));
    product = words.product;
    mapping = words.mapping;
    cut = tiling(stce, product, mapping);
}

EnginePlan::Pass EnginePlan::pass(int64_t p) const {
    Pass pass;
    pass.reduction = p % cut.reduction_passes;
    pass.row_tile = p / cut.reduction_passes % cut.row_tiles;
    pass.col_tile = p / cut.reduction_passes / cut.row_tiles;
    pass.first_row = pass.row_tile * cut.rows_per_tile;
    pass.rows = std::min(cut.rows_per_tile, product.m - pass.first_row);
    pass.steps = ws() ? (pass.rows + pixel_lanes() - 1) / pixel_lanes() : cut.groups;
    pass.load = cut.reduction_passes == 1 ? pass.col_tile : p;
    pass.last_reduction = pass.reduction == cut.reduction_passes - 1;
    return pass;
}

}  // namespace enmesh::accel::sat
