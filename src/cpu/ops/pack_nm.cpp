#include <algorithm>

#include "cpu/convert.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/products/select.hpp"
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

/// Values as the products would read them: what is selected must be what is multiplied. In the workspace
/// where products do not read them as they are.
class ReadByProducts {
  public:
    ReadByProducts(Machine& machine, int src)
        : machine_(machine),
          src_(src),
          values_(machine.slot(src).type.shape.elements()),
          provider_(machine.options().products) {
        if (provider_ != nullptr) at_ = machine.book(static_cast<size_t>(values_) * sizeof(float));
    }
    const float* values() const {
        const float* const from = machine_.f32(src_);
        if (provider_ == nullptr) return from;
        auto* const to = reinterpret_cast<float*>(machine_.workspace(at_));
        parallel_for(values_, 1 << 15, [&](int64_t begin, int64_t end) {
            const auto count = static_cast<size_t>(end - begin);
            provider_->round({from + begin, count}, {to + begin, count});
        });
        return to;
    }

  private:
    Machine& machine_;
    int src_;
    int64_t values_;
    std::shared_ptr<const ProductProvider> provider_;
    size_t at_ = 0;
};

/// Weights packed for a product that reads rounded values: the choice is by these, as packing hardware on the
/// way to the product sees no others; what is kept stays what it was, since decay compares it with the
/// masters. An update packs its own masters.
void add_rounded_weight_packing(Machine& machine, const Node& node, const PackNm& op, int src) {
    const int dst = machine.slot_of(node.outputs[0]);
    const Shape shape = machine.slot(src).type.shape;
    const products::Conv conv = weights_geometry(shape);
    const auto stage = op.axis == GroupAxis::input_channels ? products::Stage::ff : products::Stage::bp;
    const auto elements = static_cast<size_t>(conv.weights_size());
    const ReadByProducts read(machine, src);
    const size_t mask_at = machine.book(elements);
    machine.add(node, Kind::pack, {src}, {dst},
                [&machine, src, dst, shape, conv, stage, op, elements, read, mask_at](const RunContext&) {
                    const std::span<uint8_t> kept(reinterpret_cast<uint8_t*>(machine.workspace(mask_at)),
                                                  elements);
                    magnitude_mask(shape, op.axis, op.pattern, {read.values(), elements}, kept);
                    products::pack_weights_masked(conv, stage, {machine.f32(src), elements}, kept,
                                                  machine.packed(dst).span());
                });
}

void add_weight_packing(Machine& machine, const Node& node, const PackNm& op) {
    const int src = machine.in_plain(node.inputs[0]), dst = machine.slot_of(node.outputs[0]);
    const int mask = node.inputs.size() == 2 ? machine.slot_of(node.inputs[1]) : -1;
    if (mask < 0 && node.stage != Stage::WU && machine.options().products != nullptr)
        return add_rounded_weight_packing(machine, node, op, src);
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

void round_in_place(std::span<float> values) {
    over_elements(static_cast<int64_t>(values.size()), [&](int64_t at, int64_t count) {
        simd().round_to_bf16(values.data() + at, values.data() + at, count);
    });
}

/// An out-grad: along output channels, a row per position (n, oh, ow); along positions, a row per channel.
void add_gradient_packing(Machine& machine, const Node& node, const PackNm& op) {
    const int src = machine.slot_of(node.inputs[0]), dst = machine.slot_of(node.outputs[0]);
    const Slot& slot = machine.slot(src);
    ENMESH_ASSERT(slot.layout.lanes == Layout::Lanes::images);
    const Shape shape = slot.type.shape;
    const bool map = shape.rank() == 4;
    products::Problem problem;
    problem.conv = map ? products::Conv{.n = shape[0], .h = shape[2], .w = shape[3], .k = shape[1]}
                       : products::linear(shape.elements() / shape[-1], 1, shape[-1]);
    problem.stage = op.axis == GroupAxis::positions ? products::Stage::wg : products::Stage::bp;
    problem.sparsity = products::NmOperand{products::Operand::diff_dst, op.pattern};
    problem.block = slot.layout.block;
    const auto how =
        op.selection == Selection::mvue ? products::Selection::mvue : products::Selection::magnitude;
    const int64_t stream = op.stream;
    const ReadByProducts read(machine, src);
    machine.add(node, Kind::pack, {src}, {dst},
                [&machine, read, dst, problem, how, stream](const RunContext& context) {
                    const products::PackedSpan packed = machine.packed(dst).span();
                    products::pack_diff_dst(problem, {how, step_random(context, RandomUse::mvue, stream)},
                                            read.values(), packed);
                    if (machine.element() == Layout::Element::f32) return;
                    round_in_place(packed.values);
                    round_in_place(packed.tail);
                });
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const PackNm& op) {
    const bool weights = op.axis == GroupAxis::input_channels || op.axis == GroupAxis::output_channels;
    if (weights) return add_weight_packing(machine, node, op);
    add_gradient_packing(machine, node, op);
}

template <>
void lower(Machine& machine, const Node& node, const UnpackNm&) {
    const int src = machine.slot_of(node.inputs[0]), dst = machine.out(node.outputs[0]);
    const ValueType type = machine.graph().type(node.inputs[0]);
    machine.add(node, Kind::pack, {src}, {dst}, [&machine, src, dst, type](const RunContext&) {
        const auto elements = static_cast<size_t>(type.shape.elements());
        unpack_value(machine.packed(src), type, std::span<float>(machine.f32(dst), elements));
    });
}

template <>
void lower(Machine& machine, const Node& node, const SelectMask& op) {
    const int weights = machine.slot_of(node.inputs[0]), mask = machine.slot_of(node.inputs[1]);
    const Shape shape = machine.slot(weights).type.shape;
    machine.add(
        node, Kind::pack, {weights, mask}, {mask},
        [&machine, weights, mask, shape, op](const RunContext& context) {
            auto* const kept = static_cast<uint8_t*>(machine.data(mask));
            const int64_t elements = shape.elements();
            const bool empty = std::all_of(kept, kept + elements, [](uint8_t k) { return k == 0; });
            if (!empty && context.update % op.period != 0) return;
            const auto count = static_cast<size_t>(elements);
            const std::span<const float> values(machine.f32(weights), count);
            if (op.selection == Selection::transposable) {
                products::transposable_mask(weights_geometry(shape), op.pattern, values, {kept, count});
            } else {
                magnitude_mask(shape, op.axis, op.pattern, values, {kept, count});
            }
        });
}

template <>
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

template <>
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
