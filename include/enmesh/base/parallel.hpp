#pragma once

#include <cstdint>
#include <exception>
#include <utility>

namespace enmesh {

/// Threads that parallel work uses from now on, at most as many as OpenMP gives (OMP_THREAD_LIMIT); without
/// this call ProcessorLimits::standard(). Results are the same bits for the same count.
void set_threads(int threads);
int threads();

/// The half-open share of [0, count) that belongs to `part` of `parts`: contiguous, sizes differ by at most
/// one.
inline std::pair<int64_t, int64_t> share(int64_t count, int part, int parts) {
    const int64_t base = count / parts, extra = count % parts;
    const int64_t begin = part * base + (part < extra ? part : extra);
    return {begin, begin + base + (part < extra ? 1 : 0)};
}

/// What threads of a team threw. An exception must not leave an OpenMP region: it would end the program.
class ThrownInTeam {
  public:
    /// In a handler: keeps the exception unless one of a thread with a smaller number is kept.
    void keep(int thread) noexcept;
    void rethrow() const {
        if (thrown_ != nullptr) std::rethrow_exception(thrown_);
    }

  private:
    int thread_ = 0;
    std::exception_ptr thrown_;
};

/// body(thread, threads) on every thread of the team at once. If bodies throw, the others run to their end;
/// then the exception of the first thread that threw (by its number) goes on to the caller.
template <typename Body>
void parallel_team(const Body& body) {
    const int count = threads();
    if (count == 1) {
        body(0, 1);
        return;
    }
    ThrownInTeam thrown;
#pragma omp parallel for schedule(static, 1) num_threads(count)
    for (int thread = 0; thread < count; ++thread) {
        try {
            body(thread, count);
        } catch (...) {
            thrown.keep(thread);
        }
    }
    thrown.rethrow();
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
