#include "reference/run.hpp"

#include <algorithm>

#include "enmesh/sparsity/selection.hpp"

namespace enmesh::reference {

template <>
void run(const SelectMask& op, const Frame& frame) {
    const bool unset =
        std::all_of(frame.out().data.begin(), frame.out().data.end(), [](double x) { return x == 0.0; });
    if (frame.refreshing ? !unset : frame.context.update % op.period != 0) return;
    const std::vector<float> weights = as_floats(frame.in(0));
    std::vector<uint8_t> mask(weights.size());
    if (op.selection == Selection::transposable) {
        transposable_mask(frame.shape(0), op.pattern, weights, mask);
    } else {
        magnitude_mask(frame.shape(0), op.axis, op.pattern, weights, mask);
    }
    frame.out().data.assign(mask.begin(), mask.end());
}

template <>
void run(const ApplyMask&, const Frame& frame) {
    for (int64_t i = 0; i < frame.out().elements(); ++i)
        frame.out()[i] = frame.in(1)[i] != 0.0 ? frame.in(0)[i] : 0.0;
}

template <>
void run(const SrDecay& op, const Frame& frame) {
    const Array &gradient = frame.in(0), &weights = frame.in(1), &packed = frame.in(2);
    const double scale = frame.in(3)[0];
    std::vector<bool> kept(weights.data.size(), false);
    for_each_stored(packed, [&](int64_t i, double) { kept[static_cast<size_t>(i)] = true; });
    for (int64_t i = 0; i < frame.out().elements(); ++i) {
        const double pull = kept[static_cast<size_t>(i)] ? 0.0 : op.decay * weights[i];
        frame.out()[i] = scale * gradient[i] + pull;
    }
}

}  // namespace enmesh::reference
