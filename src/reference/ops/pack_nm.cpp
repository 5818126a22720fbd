#include "reference/run.hpp"

#include "enmesh/base/error.hpp"
#include "enmesh/sparsity/selection.hpp"
#include "enmesh/step/randomness.hpp"

namespace enmesh::reference {

namespace {

/// The first `kept.size()` positions that a mask marks, filled up with the lowest unmarked ones.
void select_masked(std::span<const double> mask, std::span<uint8_t> kept) {
    std::array<bool, Pattern::max_m> chosen{};
    size_t count = 0;
    for (size_t i = 0; i < mask.size(); ++i) {
        chosen[i] = mask[i] != 0.0;
        count += chosen[i] ? 1 : 0;
    }
    if (count > kept.size()) refuse("a mask marks {} elements of a group, {} fit", count, kept.size());
    for (size_t i = 0; count < kept.size(); ++i) {
        if (chosen[i]) continue;
        chosen[i] = true;
        ++count;
    }
    for (size_t i = 0, to = 0; i < mask.size(); ++i) {
        if (chosen[i]) kept[to++] = static_cast<uint8_t>(i);
    }
}

}  // namespace

template <>
void run(const PackNm& op, const Frame& frame) {
    const Array& src = frame.in(0);
    Array& packed = frame.out();
    const GroupLines geometry = group_lines(src.type.shape, op.axis);
    const auto n = static_cast<size_t>(op.pattern.n), m = static_cast<size_t>(op.pattern.m);
    const int64_t groups = geometry.length / op.pattern.m, tail = geometry.length % op.pattern.m;
    const Random random = step_random(frame.context, RandomUse::mvue, op.stream);
    std::array<double, Pattern::max_m> group{}, mask{};
    for (int64_t at = 0; at < geometry.lines * groups; ++at) {
        const int64_t line = at / groups, begin = at % groups * op.pattern.m;
        for (size_t i = 0; i < m; ++i) {
            const int64_t from = geometry.offset(line, begin + static_cast<int64_t>(i));
            group[i] = src[from];
            if (op.selection == Selection::mask) mask[i] = frame.in(1)[from];
        }
        const std::span<const double> elements(group.data(), m);
        const std::span kept(packed.indices.data() + static_cast<size_t>(at) * n, n);
        const std::span values(packed.data.data() + static_cast<size_t>(at) * n, n);
        if (op.selection == Selection::mvue) {
            select_mvue(elements, mvue_uniform(random, static_cast<uint64_t>(at)), kept, values);
            continue;
        }
        if (op.selection == Selection::mask) {
            select_masked({mask.data(), m}, kept);
        } else {
            select_magnitude(elements, kept);
        }
        for (size_t i = 0; i < n; ++i) {
            const bool filler = op.selection == Selection::mask && mask[kept[i]] == 0.0;
            values[i] = filler ? 0.0 : group[kept[i]];
        }
    }
    const int64_t kept = geometry.lines * groups * op.pattern.n;
    for (int64_t i = 0; i < geometry.lines * tail; ++i)
        packed[kept + i] = src[geometry.offset(i / tail, groups * op.pattern.m + i % tail)];
}

template <>
void run(const UnpackNm&, const Frame& frame) {
    frame.out().data = densified(frame.in(0));
}

}  // namespace enmesh::reference
