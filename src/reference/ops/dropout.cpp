#include "reference/run.hpp"

#include "enmesh/step/randomness.hpp"

namespace enmesh::reference {

template <>
void run(const Dropout& op, const Frame& frame) {
    const Random random = step_random(frame.context, RandomUse::dropout, op.stream);
    for (int64_t i = 0; i < frame.out().elements(); ++i) {
        const bool kept = dropout_keeps(random, static_cast<uint64_t>(i), op.probability);
        frame.out()[i] = kept ? frame.in(0)[i] / (1.0 - op.probability) : 0.0;
    }
}

}  // namespace enmesh::reference
