#include "enmesh/products/packed.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"
#include "products/micro/lane_groups.hpp"

namespace enmesh::products {
namespace {

constexpr int max_lanes = 16;

// KCRS weights as one stage sees them: `bands` operands (convolution groups) stacked along the rows.
struct WeightAxes {
    DenseAxes axes;
    int64_t band_rows, band_stride;
};

WeightAxes weight_axes(const Conv& conv, Stage stage) {
    const int64_t taps = conv.taps(), c = conv.c / conv.groups, k = conv.k / conv.groups;
    if (stage == Stage::ff) return {{c * taps, 1, taps}, k, k * c * taps};
    return {{taps, 1, c * taps}, c, k * c * taps};
}

void check_shape(const PackedShape& shape, size_t values, size_t indices, size_t tail) {
    check_pattern(shape.pattern);
    if (values != static_cast<size_t>(shape.kept()) || indices != values ||
        tail != static_cast<size_t>(shape.tail_size())) {
        fail(
            "compact operand {}: {} values, {} indices and {} tail values do not fit {} rows, {} taps, "
            "reduction {}",
            to_string(shape.pattern), values, indices, tail, shape.rows, shape.taps, shape.reduction);
    }
}

// Groups [begin, end) of the flattened (row, tap, group) order, `lanes` at a time: gathered so that a group
// lies down the lanes, ranked by the vector kernel, and scattered as compact groups. `base(row, tap)` is an
// element's address.
template <typename Base>
void pack_groups(const MicroKernels& micro, const Base& base, int64_t reduction_stride, const PackedSpan& out,
                 int64_t begin, int64_t end) {
    const auto [n, m] = out.shape.pattern;
    const int64_t groups = out.shape.groups();
    alignas(64) std::array<float, Pattern::max_m * max_lanes> in{}, values;
    alignas(64) std::array<int32_t, Pattern::max_m * max_lanes> indices;
    if (begin == end) return;
    // Addresses are divisions: they are carried along instead.
    int64_t vector = begin / groups, group = begin % groups;
    const float* from = base(vector) + group * m * reduction_stride;
    for (int64_t first = begin; first < end; first += micro.lanes) {
        const int used = static_cast<int>(std::min<int64_t>(micro.lanes, end - first));
        for (int lane = 0; lane < used; ++lane) {
            for (int i = 0; i < m; ++i) in[i * micro.lanes + lane] = from[i * reduction_stride];
            from += m * reduction_stride;
            if (++group < groups || first + lane + 1 == end) continue;
            group = 0;
            from = base(++vector);
        }
        micro.select(in.data(), m, n, values.data(), indices.data());
        store_groups({.values = values.data(),
                      .indices = indices.data(),
                      .lanes = micro.lanes,
                      .used = used,
                      .to_values = out.values.data() + first * n,
                      .to_indices = out.indices.data() + first * n,
                      .step = 1},
                     n);
    }
}

// Groups of one vector that lie one behind the other in memory, as many as fill whole transposes: a row of
// lanes holds one group, a part of one, or several, of which each is then a step apart from the next. Returns
// how many groups it packed.
int64_t pack_contiguous(const MicroKernels& micro, const float* from, const PackedSpan& out, int64_t first,
                        int64_t count) {
    const auto [n, m] = out.shape.pattern;
    const int64_t lanes = micro.lanes, per_row = std::max<int64_t>(1, lanes / m), at_once = lanes * per_row;
    if (lanes % m != 0 && m % lanes != 0) return 0;
    alignas(64) std::array<float, Pattern::max_m * max_lanes> in, values;
    alignas(64) std::array<int32_t, Pattern::max_m * max_lanes> indices;
    int64_t done = 0;
    for (; done + at_once <= count; done += at_once) {
        micro.transpose({.from = from + done * m,
                         .from_row = per_row * m,
                         .from_block = lanes,
                         .to = in.data(),
                         .to_row = lanes,
                         .to_block = lanes * lanes,
                         .rows = lanes,
                         .columns = lanes,
                         .count = per_row * m / lanes});
        for (int64_t part = 0; part < per_row; ++part) {
            micro.select(in.data() + part * m * lanes, m, n, values.data(), indices.data());
            const int64_t to = (first + done + part) * n;
            store_groups({.values = values.data(),
                          .indices = indices.data(),
                          .lanes = lanes,
                          .used = lanes,
                          .to_values = out.values.data() + to,
                          .to_indices = out.indices.data() + to,
                          .step = per_row},
                         n);
        }
    }
    return done;
}

// Neighbouring vectors that lie side by side in memory (`from` is the first one's start) are the lanes
// themselves: nothing is gathered. A cache line of vectors goes through all groups together.
void pack_side_by_side(const MicroKernels& micro, const float* from, int64_t reduction_stride,
                       const PackedSpan& out, int64_t first, int64_t count) {
    constexpr int64_t line = max_lanes;
    const auto [n, m] = out.shape.pattern;
    const int64_t groups = out.shape.groups(), lanes = micro.lanes;
    alignas(64) std::array<float, Pattern::max_m * max_lanes> in{}, values;
    alignas(64) std::array<int32_t, Pattern::max_m * max_lanes> indices;
    for (int64_t block = 0; block < count; block += line) {
        for (int64_t group = 0; group < groups; ++group) {
            for (int64_t vector = block; vector < std::min(count, block + line); vector += lanes) {
                const int64_t used = std::min(lanes, count - vector);
                for (int i = 0; i < m; ++i) {
                    const float* const row = from + (group * m + i) * reduction_stride + vector;
                    copy_lanes(row, used, in.data() + i * lanes);
                }
                micro.select(in.data(), m, n, values.data(), indices.data());
                const int64_t to = ((first + vector) * groups + group) * n;
                store_groups({.values = values.data(),
                              .indices = indices.data(),
                              .lanes = lanes,
                              .used = used,
                              .to_values = out.values.data() + to,
                              .to_indices = out.indices.data() + to,
                              .step = groups},
                             n);
            }
        }
    }
}

// `side_by_side` vectors at a time lie next to each other in memory.
template <typename Base>
void pack_vectors(const Base& base, int64_t reduction_stride, int64_t side_by_side, const PackedSpan& out) {
    check_shape(out.shape, out.values.size(), out.indices.size(), out.tail.size());
    const MicroKernels& micro = micro_kernels(isa());
    const int64_t vectors = out.shape.rows * out.shape.taps, groups = out.shape.groups(),
                  tail = out.shape.tail();
    parallel_for(vectors, 64, [&](int64_t begin, int64_t end) {
        if (side_by_side >= max_lanes) {
            for (int64_t vector = begin; vector < end;) {
                const int64_t stop = std::min(end, (vector / side_by_side + 1) * side_by_side);
                pack_side_by_side(micro, base(vector), reduction_stride, out, vector, stop - vector);
                vector = stop;
            }
        } else if (reduction_stride == 1) {
            for (int64_t vector = begin; vector < end; ++vector) {
                const int64_t first = vector * groups;
                const int64_t done = pack_contiguous(micro, base(vector), out, first, groups);
                pack_groups(micro, base, reduction_stride, out, first + done, first + groups);
            }
        } else {
            pack_groups(micro, base, reduction_stride, out, begin * groups, end * groups);
        }
        for (int64_t vector = begin; vector < end; ++vector) {
            const float* const from = base(vector) + groups * out.shape.pattern.m * reduction_stride;
            for (int64_t i = 0; i < tail; ++i) out.tail[vector * tail + i] = from[i * reduction_stride];
        }
    });
}

auto weights_base(const float* weights, const WeightAxes& axes, int64_t taps) {
    return [=](int64_t vector) {
        const int64_t row = vector / taps, tap = vector % taps;
        return weights + row / axes.band_rows * axes.band_stride +
               row % axes.band_rows * axes.axes.row_stride + tap * axes.axes.tap_stride;
    };
}

void check_weights(const Conv& conv, Stage stage, size_t weights, const PackedShape& shape) {
    if (weights != static_cast<size_t>(conv.weights_size()) ||
        shape != weights_shape(conv, stage, shape.pattern)) {
        fail("compact weights do not fit the {} product of {}", to_string(stage), to_string(conv));
    }
}

}  // namespace

Packed::Packed(const PackedShape& shape)
    : shape_(shape), values_(shape.kept()), indices_(shape.kept()), tail_(shape.tail_size()) {}

PackedShape weights_shape(const Conv& conv, Stage stage, Pattern pattern) {
    check_pattern(pattern);
    if (stage == Stage::ff) return {pattern, conv.k, conv.taps(), conv.c / conv.groups};
    return {pattern, conv.c, conv.taps(), conv.k / conv.groups};
}

void pack_weights(const Conv& conv, Stage stage, std::span<const float> weights, PackedSpan out) {
    check_weights(conv, stage, weights.size(), out.shape);
    const WeightAxes axes = weight_axes(conv, stage);
    const bool dense = axes.axes.tap_stride == 1 && axes.axes.row_stride == conv.taps();
    pack_vectors(weights_base(weights.data(), axes, conv.taps()), axes.axes.reduction_stride,
                 dense ? axes.band_rows * conv.taps() : 1, out);
}

Packed pack_weights(const Conv& conv, Stage stage, Pattern pattern, std::span<const float> weights) {
    Packed packed(weights_shape(conv, stage, pattern));
    pack_weights(conv, stage, weights, packed.span());
    return packed;
}

void pack_weights_masked(const Conv& conv, Stage stage, std::span<const float> weights,
                         std::span<const uint8_t> mask, PackedSpan out) {
    check_weights(conv, stage, weights.size(), out.shape);
    check_shape(out.shape, out.values.size(), out.indices.size(), out.tail.size());
    if (mask.size() != weights.size()) fail("a mask of {} bytes for {} weights", mask.size(), weights.size());
    const WeightAxes axes = weight_axes(conv, stage);
    const auto base = weights_base(weights.data(), axes, conv.taps());
    const auto [n, m] = out.shape.pattern;
    const int64_t stride = axes.axes.reduction_stride, groups = out.shape.groups(), tail = out.shape.tail();
    // One vector: returns the group of which the mask keeps too many, else `groups`.
    const auto one = [&](int64_t vector) {
        const float* const from = base(vector);
        const uint8_t* const keep = mask.data() + (from - weights.data());
        for (int64_t group = 0; group < groups; ++group) {
            const int64_t to = (vector * groups + group) * n;
            int filled = 0;
            for (int i = 0; i < m; ++i) {
                const int64_t at = (group * m + i) * stride;
                if (keep[at] == 0) continue;
                if (filled == n) return group;
                out.values[to + filled] = from[at];
                out.indices[to + filled++] = static_cast<uint8_t>(i);
            }
            // Zeros at positions not kept complete the group; ascending order is restored by merging them in.
            for (int i = 0; i < m && filled < n; ++i) {
                if (keep[(group * m + i) * stride] != 0) continue;
                int slot = filled++;
                for (; slot > 0 && out.indices[to + slot - 1] > i; --slot) {
                    out.values[to + slot] = out.values[to + slot - 1];
                    out.indices[to + slot] = out.indices[to + slot - 1];
                }
                out.values[to + slot] = 0.0F;
                out.indices[to + slot] = static_cast<uint8_t>(i);
            }
        }
        for (int64_t i = 0; i < tail; ++i) {
            const int64_t at = (groups * m + i) * stride;
            out.tail[vector * tail + i] = keep[at] != 0 ? from[at] : 0.0F;
        }
        return groups;
    };
    // A refusal must not leave a thread of the team: the first bad vector of each share is kept for after.
    const int64_t vectors = out.shape.rows * out.shape.taps;
    std::atomic<int64_t> bad{vectors};
    parallel_for(vectors, 64, [&](int64_t begin, int64_t end) {
        int64_t vector = begin;
        while (vector < end && one(vector) == groups) ++vector;
        if (vector == end) return;
        for (int64_t seen = bad; vector < seen && !bad.compare_exchange_weak(seen, vector);) {
        }
    });
    if (bad == vectors) return;
    refuse("{}: the mask keeps more than {} in group {} of row {}", to_string(conv), n, one(bad),
           bad / conv.taps());
}

namespace {

template <typename Base>
void unpack_vectors(const PackedView& packed, const Base& base, int64_t stride) {
    check_shape(packed.shape, packed.values.size(), packed.indices.size(), packed.tail.size());
    const auto [n, m] = packed.shape.pattern;
    const int64_t groups = packed.shape.groups(), tail = packed.shape.tail();
    // Neighbouring vectors often lie side by side: a cache line of them goes through all groups together.
    const auto some = [&](int64_t first, int64_t count) {
        std::array<float*, max_lanes> to{};
        for (int64_t i = 0; i < count; ++i) to[static_cast<size_t>(i)] = base(first + i);
        for (int64_t group = 0; group < groups; ++group) {
            for (int i = 0; i < m; ++i) {
                for (int64_t v = 0; v < count; ++v)
                    to[static_cast<size_t>(v)][(group * m + i) * stride] = 0.0F;
            }
            for (int64_t v = 0; v < count; ++v) {
                const int64_t from = ((first + v) * groups + group) * n;
                for (int64_t at = from; at < from + n; ++at)
                    to[static_cast<size_t>(v)][(group * m + packed.indices[at]) * stride] = packed.values[at];
            }
        }
        for (int64_t v = 0; v < count; ++v) {
            for (int64_t i = 0; i < tail; ++i)
                to[static_cast<size_t>(v)][(groups * m + i) * stride] = packed.tail[(first + v) * tail + i];
        }
    };
    parallel_for(packed.shape.rows * packed.shape.taps, 64, [&](int64_t begin, int64_t end) {
        for (int64_t vector = begin; vector < end; vector += max_lanes)
            some(vector, std::min<int64_t>(max_lanes, end - vector));
    });
}

}  // namespace

void unpack_weights(const Conv& conv, Stage stage, const PackedView& packed, std::span<float> weights) {
    check_weights(conv, stage, weights.size(), packed.shape);
    const WeightAxes axes = weight_axes(conv, stage);
    const auto base = weights_base(weights.data(), axes, conv.taps());
    unpack_vectors(
        packed, [&](int64_t vector) { return weights.data() + (base(vector) - weights.data()); },
        axes.axes.reduction_stride);
}

void pack(const float* dense, const DenseAxes& axes, PackedSpan out) {
    const int64_t taps = out.shape.taps;
    pack_vectors([=](int64_t v) { return dense + v / taps * axes.row_stride + v % taps * axes.tap_stride; },
                 axes.reduction_stride, 1, out);
}

void unpack(const PackedView& packed, const DenseAxes& axes, float* dense) {
    const int64_t taps = packed.shape.taps;
    unpack_vectors(
        packed, [=](int64_t v) { return dense + v / taps * axes.row_stride + v % taps * axes.tap_stride; },
        axes.reduction_stride);
}

}  // namespace enmesh::products
