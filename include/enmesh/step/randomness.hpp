#pragma once

#include "enmesh/base/random.hpp"
#include "enmesh/step/executor.hpp"

namespace enmesh {

/// What a step draws random numbers for; keeps the operations' streams apart.
enum class RandomUse : uint8_t { dropout, mvue };

/// The generator of one operation in one run: number i is a pure function of (seed, update, micro_batch, use,
/// stream, i), so that every executor draws the same ones whatever its order or threads.
inline Random step_random(const RunContext& context, RandomUse use, int64_t stream) {
    const uint64_t update =
        Random::mix(context.seed + 0x9e3779b97f4a7c15ULL * (static_cast<uint64_t>(context.update) + 1));
    const uint64_t run =
        Random::mix(update + 0xd1b54a32d192ed03ULL * (static_cast<uint64_t>(context.micro_batch) + 1));
    return Random(run, static_cast<uint64_t>(stream) * 2 + static_cast<uint64_t>(use));
}

/// Whether dropout keeps element `index` (in row-major order of the logical tensor).
inline bool dropout_keeps(const Random& random, uint64_t index, double probability) {
    return Random::unit(random.at(index)) >= static_cast<float>(probability);
}

/// The number that decides group `group` of an MVUE selection; groups count line by line in the order of
/// GroupLines.
inline double mvue_uniform(const Random& random, uint64_t group) { return Random::unit(random.at(group)); }

}  // namespace enmesh
