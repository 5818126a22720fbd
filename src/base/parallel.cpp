#include "enmesh/base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "enmesh/base/processors.hpp"

namespace enmesh {
namespace {

std::atomic<int>& thread_count() {
    static std::atomic<int> count{processor_limits().standard()};
    return count;
}

}  // namespace

void set_threads(int threads) {
    thread_count() = std::clamp(threads, 1, std::max(1, processor_limits().most()));
}

void ThrownInTeam::keep(int thread) noexcept {
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    if (thrown_ != nullptr && thread_ < thread) return;
    thread_ = thread;
    thrown_ = std::current_exception();
}

int threads() { return thread_count(); }

}  // namespace enmesh
