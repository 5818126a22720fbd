#include <algorithm>

#include "cpu/convert.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/products/packed.hpp"
#include "enmesh/sparsity/selection.hpp"
#include "enmesh/step/randomness.hpp"

namespace enmesh::cpu {
namespace {

/// Weights seen as a convolution's, for the packing functions: K × C × R × S, or K × C.
products::Conv weights_geometry(const Shape& shape) {
    const bool conv = shape.rank() == 4;
    return {.n = 1,
            .c = shape[1],
            .h = conv ? shape[2] : 1,
            .w = conv ? shape[3] : 1,
            .k = shape[0],
            .r = conv ? shape[2] : 1,
            .s = conv ? shape[3] : 1};
}

void add_weight_packing(Machine& machine, const Node& node, const PackNm& op) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.slot_of(node.outputs[0]);
    const int mask = node.inputs.size() == 2 ? machine.slot_of(node.inputs[1]) : -1;
    const Shape shape = machine.slot(src).type.shape;
    const products::Conv conv = weights_geometry(shape);
    const auto stage = op.axis == GroupAxis::input_channels ? products::Stage::ff : products::Stage::bp;
    std::vector<int> reads{src};
    if (mask >= 0) reads.push_back(mask);
    machine.add(node, Kind::pack, std::move(reads), {dst},
                [&machine, src, dst, mask, conv, stage](const RunContext&) {
                    const auto elements = static_cast<size_t>(conv.weights_size());
                    const std::span<const float> weights(machine.f32(src), elements);
                    products::PackedSpan packed = machine.packed(dst).span();
                    if (mask >= 0) {
                        const std::span<const uint8_t> kept(static_cast<const uint8_t*>(machine.data(mask)),
                                                            elements);
                        products::pack_weights_masked(conv, stage, weights, kept, packed);
                    } else {
                        products::pack_weights(conv, stage, weights, packed);
                    }
                });
}

/// Rows [begin, end) of a compact operand.
products::PackedSpan rows_of(const products::PackedSpan& whole, int64_t begin, int64_t end) {
    products::PackedSpan part = whole;
    part.shape.rows = end - begin;
    const auto kept = static_cast<size_t>(part.shape.kept()),
               tail = static_cast<size_t>(part.shape.tail_size());
    const auto rows = static_cast<size_t>(end - begin), first = static_cast<size_t>(begin);
    part.values = whole.values.subspan(first * (kept / rows), kept);
    part.indices = whole.indices.subspan(first * (kept / rows), kept);
    part.tail = whole.tail.subspan(first * (tail / rows), tail);
    return part;
}

/// An out-grad along output channels: a row per position (n, oh, ow), image by image.
void add_gradient_packing(Machine& machine, const Node& node) {
    const int src = machine.slot_of(node.inputs[0]), dst = machine.slot_of(node.outputs[0]);
    const Shape shape = machine.slot(src).type.shape;
    const bool map = shape.rank() == 4;
    const int64_t images = map ? shape[0] : 1, channels = map ? shape[1] : shape[-1];
    const int64_t pixels = shape.elements() / (images * channels);
    const int block = machine.slot(src).layout.block;
    ENMESH_ASSERT(machine.slot(src).layout.lanes == Layout::Lanes::images);
    machine.add(
        node, Kind::pack, {src}, {dst},
        [&machine, src, dst, map, images, channels, pixels, block](const RunContext&) {
            const products::PackedSpan packed = machine.packed(dst).span();
            const float* const from = machine.f32(src);
            parallel_for(images, 1, [&](int64_t begin, int64_t end) {
                for (int64_t n = begin; n < end; ++n) {
                    const float* const image = from + n / block * channels * pixels * block + n % block;
                    const products::DenseAxes axes = map ? products::DenseAxes{block, 0, pixels * block}
                                                         : products::DenseAxes{channels, 0, 1};
                    products::pack(image, axes, rows_of(packed, n * pixels, (n + 1) * pixels));
                }
            });
        });
}

/// The kept elements of one channel's out-grads: groups of M consecutive positions (n, oh, ow), the rest
/// dense.
void pack_mvue_line(const PackNm& op, const Random& random, int64_t line, std::span<const double> values,
                    const products::PackedSpan& out) {
    const int n = op.pattern.n, m = op.pattern.m;
    const int64_t groups = out.shape.groups(), tail = out.shape.tail();
    std::array<uint8_t, Pattern::max_m> kept{};
    std::array<double, Pattern::max_m> scaled{};
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t group = line * groups + g;
        const auto width = static_cast<size_t>(n);
        select_mvue(values.subspan(static_cast<size_t>(g * m), static_cast<size_t>(m)),
                    mvue_uniform(random, static_cast<uint64_t>(group)), {kept.data(), width},
                    {scaled.data(), width});
        for (int j = 0; j < n; ++j) {
            const auto at = static_cast<size_t>(group * n + j);
            out.values[at] = static_cast<float>(scaled[static_cast<size_t>(j)]);
            out.indices[at] = kept[static_cast<size_t>(j)];
        }
    }
    for (int64_t i = 0; i < tail; ++i) {
        out.tail[static_cast<size_t>(line * tail + i)] =
            static_cast<float>(values[static_cast<size_t>(groups * m + i)]);
    }
}

void add_mvue_packing(Machine& machine, const Node& node, const PackNm& op) {
    ENMESH_ASSERT(op.selection == Selection::mvue && op.axis == GroupAxis::positions);
    const int src = machine.slot_of(node.inputs[0]), dst = machine.slot_of(node.outputs[0]);
    const Shape shape = machine.slot(src).type.shape;
    const bool map = shape.rank() == 4;
    const int64_t channels = map ? shape[1] : shape[-1], positions = shape.elements() / channels;
    const int64_t pixels = map ? shape[2] * shape[3] : 1;
    const int block = machine.slot(src).layout.block;
    ENMESH_ASSERT(machine.slot(src).layout.lanes == Layout::Lanes::images);
    const size_t lines_at = machine.book(static_cast<size_t>(threads() * positions) * sizeof(double));
    const int team_size = threads();
    machine.add(node, Kind::pack, {src}, {dst},
                [&machine, src, dst, op, channels, positions, pixels, block, lines_at,
                 team_size](const RunContext& context) {
                    const Random random = step_random(context, RandomUse::mvue, op.stream);
                    const float* const from = machine.f32(src);
                    double* const lines = reinterpret_cast<double*>(machine.workspace(lines_at));
                    const products::PackedSpan packed = machine.packed(dst).span();
                    parallel_team([&](int thread, int team) {
                        if (thread >= team_size) return;
                        const auto [begin, end] = share(channels, thread, std::min(team, team_size));
                        double* const line = lines + thread * positions;
                        for (int64_t k = begin; k < end; ++k) {
                            for (int64_t position = 0; position < positions; ++position) {
                                const int64_t n = position / pixels, p = position % pixels;
                                line[position] = static_cast<double>(
                                    from[products::blocked_index(n, k, p, channels, pixels, block)]);
                            }
                            pack_mvue_line(op, random, k, {line, static_cast<size_t>(positions)}, packed);
                        }
                    });
                });
}

}  // namespace

void lower(Machine& machine, const Node& node, const PackNm& op) {
    const bool weights = op.axis == GroupAxis::input_channels || op.axis == GroupAxis::output_channels;
    if (weights) return add_weight_packing(machine, node, op);
    if (op.axis == GroupAxis::gradient_channels) return add_gradient_packing(machine, node);
    add_mvue_packing(machine, node, op);
}

void lower(Machine& machine, const Node& node, const UnpackNm&) {
    const int src = machine.slot_of(node.inputs[0]), dst = machine.out(node.outputs[0]);
    const ValueType type = machine.graph().type(node.inputs[0]);
    machine.add(node, Kind::pack, {src}, {dst}, [&machine, src, dst, type](const RunContext&) {
        const auto elements = static_cast<size_t>(type.shape.elements());
        unpack_value(machine.packed(src), type, std::span<float>(machine.f32(dst), elements));
    });
}

void lower(Machine& machine, const Node& node, const SelectMask& op) {
    const int weights = machine.slot_of(node.inputs[0]), mask = machine.slot_of(node.inputs[1]);
    const Shape shape = machine.slot(weights).type.shape;
    machine.add(node, Kind::pack, {weights, mask}, {mask},
                [&machine, weights, mask, shape, op](const RunContext& context) {
                    auto* const kept = static_cast<uint8_t*>(machine.data(mask));
                    const int64_t elements = shape.elements();
                    const bool empty = std::all_of(kept, kept + elements, [](uint8_t k) { return k == 0; });
                    if (!empty && context.update % op.period != 0) return;
                    const auto count = static_cast<size_t>(elements);
                    const std::span<const float> values(machine.f32(weights), count);
                    if (op.selection == Selection::transposable) {
                        transposable_mask(shape, op.pattern, values, {kept, count});
                    } else {
                        magnitude_mask(shape, op.axis, op.pattern, values, {kept, count});
                    }
                });
}

void lower(Machine& machine, const Node& node, const ApplyMask&) {
    const int src = machine.in_plain(node.inputs[0]), mask = machine.slot_of(node.inputs[1]);
    const int dst = machine.out(node.outputs[0]);
    const int64_t elements = machine.slot(src).type.shape.elements();
    machine.add(node, Kind::update, {src, mask}, {dst},
                [&machine, src, mask, dst, elements](const RunContext&) {
                    const auto* const kept = static_cast<const uint8_t*>(machine.data(mask));
                    over_elements(elements, [&](int64_t at, int64_t count) {
                        for (int64_t i = at; i < at + count; ++i)
                            machine.f32(dst)[i] = kept[i] != 0 ? machine.f32(src)[i] : 0.0F;
                    });
                });
}

void lower(Machine& machine, const Node& node, const SrDecay& op) {
    const int gradient = machine.in_plain(node.inputs[0]), weights = machine.slot_of(node.inputs[1]);
    const int packed = machine.slot_of(node.inputs[2]), scale = machine.slot_of(node.inputs[3]);
    const int dst = machine.out(node.outputs[0]);
    const ValueType type = machine.graph().type(node.inputs[2]);
    const auto elements = static_cast<size_t>(type.shape.elements());
    const size_t masked_at = machine.book(elements * sizeof(float));
    const float decay = static_cast<float>(op.decay);
    machine.add(node, Kind::update, {gradient, weights, packed, scale}, {dst},
                [&machine, gradient, weights, packed, scale, dst, type, elements, masked_at,
                 decay](const RunContext&) {
                    float* const masked = reinterpret_cast<float*>(machine.workspace(masked_at));
                    unpack_value(machine.packed(packed), type, std::span<float>(masked, elements));
                    const float factor = machine.f32(scale)[0];
                    over_elements(static_cast<int64_t>(elements), [&](int64_t at, int64_t count) {
                        const float *const g = machine.f32(gradient) + at, *const w =
                                                                               machine.f32(weights) + at;
                        float* const out = machine.f32(dst) + at;
                        // A kept weight leaves w - masked = 0; a pruned one leaves w.
                        for (int64_t i = 0; i < count; ++i)
                            out[i] = factor * g[i] + decay * (w[i] - masked[at + i]);
                    });
                });
}

}  // namespace enmesh::cpu
