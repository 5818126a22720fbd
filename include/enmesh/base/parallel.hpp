#pragma once

#include <cstdint>
#include <utility>

namespace enmesh {

/// Threads that parallel work uses from now on (all cores by default). Results are the same bits for the same
/// count.
void set_threads(int threads);
int threads();

/// The half-open share of [0, count) that belongs to `part` of `parts`: contiguous, sizes differ by at most
/// one.
inline std::pair<int64_t, int64_t> share(int64_t count, int part, int parts) {
    const int64_t base = count / parts, extra = count % parts;
    const int64_t begin = part * base + (part < extra ? part : extra);
    return {begin, begin + base + (part < extra ? 1 : 0)};
}

/// body(thread, threads) on every thread of the team at once; a body that throws ends the program with its
/// message.
template <typename Body>
void parallel_team(const Body& body) {
    const int count = threads();
    if (count == 1) {
        body(0, 1);
        return;
    }
#pragma omp parallel for schedule(static, 1) num_threads(count)
    for (int thread = 0; thread < count; ++thread) body(thread, count);
}

/// body(begin, end) over contiguous shares of [0, count): a static partition, so results do not depend on
/// timing. Work of fewer than `grain` items runs on the calling thread.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, const Body& body) {
    if (count <= 0) return;
    if (count <= grain || threads() == 1) {
        body(int64_t{0}, count);
        return;
    }
    parallel_team([&](int thread, int team) {
        const auto [begin, end] = share(count, thread, team);
        if (begin < end) body(begin, end);
    });
}

}  // namespace enmesh
