#include <bit>

#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel::sat {
namespace {

IndexedOperand empty_operand(int64_t n, int64_t k, int values, int group, int64_t groups) {
    IndexedOperand operand;
    operand.n = n;
    operand.k = k;
    operand.values = values;
    operand.group = group;
    operand.groups = groups;
    operand.entries.resize(static_cast<size_t>(n * groups * values));
    operand.indices.resize(operand.entries.size());
    return operand;
}

uint32_t magnitude(float rank) { return std::bit_cast<uint32_t>(rank) & 0x7fffffff; }

/// Bit i is set if fewer than `pattern.n` elements beat element i: SORE's rule.
uint32_t kept_mask(const float* ranks, Pattern pattern) {
    uint32_t mask = 0;
    for (int i = 0; i < pattern.m; ++i) {
        const uint32_t mine = magnitude(ranks[i]);
        int beaten = 0;
        for (int j = 0; j < i; ++j) beaten += magnitude(ranks[j]) >= mine;
        for (int j = i + 1; j < pattern.m; ++j) beaten += magnitude(ranks[j]) > mine;
        mask |= static_cast<uint32_t>(beaten < pattern.n) << i;
    }
    return mask;
}

void pack_row(IndexedOperand& operand, std::span<const Half> weights, std::span<const float> ranks,
              int64_t row, Pattern pattern) {
    const int64_t whole = operand.k / pattern.m;
    const int64_t begin = row * operand.k;
    Half* entry = operand.entries.data() + row * operand.groups * operand.values;
    uint8_t* index = operand.indices.data() + row * operand.groups * operand.values;
    std::array<float, Pattern::max_m> own{};
    for (int64_t g = 0; g < whole; ++g) {
        const int64_t first = begin + g * pattern.m;
        if (ranks.empty())
            for (int i = 0; i < pattern.m; ++i) own[i] = to_float(weights[first + i]);
        const float* group_ranks = ranks.empty() ? own.data() : ranks.data() + first;
        for (uint32_t mask = kept_mask(group_ranks, pattern); mask != 0; mask &= mask - 1) {
            const int i = std::countr_zero(mask);
            *entry++ = weights[first + i];
            *index++ = static_cast<uint8_t>(i);
        }
    }
    // The tail is dense: its elements in order, then padding that points past the end of the reduction.
    const int64_t tail = operand.k - whole * pattern.m;
    const int64_t slots = (operand.groups - whole) * operand.values;
    for (int64_t i = 0; i < slots; ++i) {
        *entry++ = i < tail ? weights[begin + whole * pattern.m + i] : Half{};
        *index++ = static_cast<uint8_t>(i < tail ? i : pattern.m - 1);
    }
}

}  // namespace

IndexedOperand dense_operand(std::span<const Half> weights, int64_t n, int64_t k, int group) {
    check(EngineProduct{1, n, k, {}});
    if (group < 1 || group > 16) refuse("dense groups of {} values: it must be 1..16", group);
    if (weights.size() != static_cast<size_t>(n * k))
        refuse("dense operand of {} values: {} x {} takes {}", weights.size(), n, k, n * k);
    IndexedOperand operand = empty_operand(n, k, group, group, (k + group - 1) / group);
    const int64_t padded = operand.groups * group;
    for (int64_t row = 0; row < n; ++row)
        for (int64_t i = 0; i < padded; ++i) {
            operand.entries[row * padded + i] = i < k ? weights[row * k + i] : Half{};
            operand.indices[row * padded + i] = static_cast<uint8_t>(i % group);
        }
    return operand;
}

IndexedOperand packed_operand(std::span<const Half> weights, std::span<const float> ranks, int64_t n,
                              int64_t k, Pattern pattern) {
    check(EngineProduct{1, n, k, pattern});
    check_pattern(pattern);
    if (weights.size() != static_cast<size_t>(n * k))
        refuse("packed operand of {} values: {} x {} takes {}", weights.size(), n, k, n * k);
    if (!ranks.empty() && ranks.size() != weights.size())
        refuse("{} ranks for {} values: there must be one each", ranks.size(), weights.size());
    const EngineTiling cut = tiling({}, {1, n, k, pattern}, {});
    IndexedOperand operand = empty_operand(n, k, pattern.n, pattern.m, cut.groups);
    parallel_for(n, 1 + (1 << 15) / k, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) pack_row(operand, weights, ranks, row, pattern);
    });
    return operand;
}

std::vector<Half> unpacked_operand(const IndexedOperand& operand) {
    std::vector<Half> dense(static_cast<size_t>(operand.n * operand.k));
    for (int64_t row = 0; row < operand.n; ++row)
        for (int64_t g = 0; g < operand.groups; ++g)
            for (int e = 0; e < operand.values; ++e) {
                const int64_t at = (row * operand.groups + g) * operand.values + e;
                const int64_t position = operand.base(g) + operand.indices[at];
                if (position < operand.k) dense[row * operand.k + position] = operand.entries[at];
            }
    return dense;
}

}  // namespace enmesh::accel::sat
