#include "enmesh/base/processors.hpp"

#include <fmt/format.h>
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace enmesh {
namespace fs = std::filesystem;

namespace {

int affinity_count(int machine) {
    // The mask of a machine with more than 1,024 processors does not fit in cpu_set_t.
    for (int processors = 1024; processors <= 1 << 20; processors *= 2) {
        cpu_set_t* const set = CPU_ALLOC(static_cast<size_t>(processors));
        if (set == nullptr) break;
        const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(processors));
        const bool read = sched_getaffinity(0, bytes, set) == 0;
        const int count = read ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (read) return std::max(1, count);
    }
    return machine;
}

std::string first_line(const fs::path& file) {
    std::ifstream stream(file);
    std::string line;
    std::getline(stream, line);
    return line;
}

std::optional<double> number_of(std::string_view text) {
    const std::string copy(text);
    char* end = nullptr;
    const double value = std::strtod(copy.c_str(), &end);
    if (end == copy.c_str()) return std::nullopt;
    return value;
}

/// cpu.max: "QUOTA PERIOD" in microseconds, "max PERIOD" where there is no limit.
std::optional<double> quota_v2(const fs::path& group) {
    const std::string line = first_line(group / "cpu.max");
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.starts_with("max")) return std::nullopt;
    const auto quota = number_of(line), period = number_of(std::string_view(line).substr(space));
    if (!quota || !period || !(*quota > 0) || !(*period > 0)) return std::nullopt;
    return *quota / *period;
}

/// cpu.cfs_quota_us, -1 where there is no limit, and cpu.cfs_period_us.
std::optional<double> quota_v1(const fs::path& group) {
    const auto quota = number_of(first_line(group / "cpu.cfs_quota_us"));
    const auto period = number_of(first_line(group / "cpu.cfs_period_us"));
    if (!quota || !period || !(*quota > 0) || !(*period > 0)) return std::nullopt;
    return *quota / *period;
}

bool lists(std::string_view controllers, std::string_view wanted) {
    while (!controllers.empty()) {
        const size_t comma = std::min(controllers.find(','), controllers.size());
        if (controllers.substr(0, comma) == wanted) return true;
        controllers.remove_prefix(std::min(comma + 1, controllers.size()));
    }
    return false;
}

/// The smallest quota from `group` upwards to `top`. A path that does not exist there is a container's: its
/// file system begins at its own group.
void take_smallest(std::optional<double>& smallest, const fs::path& top, std::string_view group,
                   std::optional<double> (*quota_of)(const fs::path&)) {
    fs::path below(group.starts_with('/') ? group.substr(1) : group);
    while (true) {
        if (const auto quota = quota_of(below.empty() ? top : top / below); quota.has_value())
            smallest = std::min(smallest.value_or(*quota), *quota);
        if (below.empty()) return;
        below = below.parent_path();
    }
}

/// A positive number in an environment variable; of a list ("4,2") the first.
std::optional<int> environment_count(const char* name) {
    const char* const text = std::getenv(name);
    if (text == nullptr) return std::nullopt;
    const auto value = number_of(text);
    if (!value || !(*value >= 1) || !(*value <= 1 << 20)) return std::nullopt;
    return static_cast<int>(*value);
}

ProcessorLimits read_limits() {
    ProcessorLimits limits;
    limits.machine = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    limits.affinity = affinity_count(limits.machine);
    std::ifstream self("/proc/self/cgroup");
    limits.quota = cgroup_quota("/sys/fs/cgroup", std::string(std::istreambuf_iterator<char>(self), {}));
    if (std::getenv("OMP_THREAD_LIMIT") != nullptr) limits.openmp = std::max(1, omp_get_thread_limit());
    limits.request = environment_count("OMP_NUM_THREADS");
    return limits;
}

}  // namespace

int ProcessorLimits::most() const { return openmp.value_or(1 << 20); }

int ProcessorLimits::standard() const {
    const int free = std::min(affinity, quota.value_or(affinity));
    return std::max(1, std::min(request.value_or(free), most()));
}

std::string ProcessorLimits::reason() const {
    const int count = standard();
    if (count >= machine) return "";
    if (openmp.has_value() && *openmp == count) return "OMP_THREAD_LIMIT";
    if (request.has_value()) return "OMP_NUM_THREADS";
    if (quota.has_value() && *quota == count) return "the container's limit of processor time";
    return "the processors that this process may run on";
}

const ProcessorLimits& processor_limits() {
    static const ProcessorLimits limits = read_limits();
    return limits;
}

std::optional<int> cgroup_quota(const fs::path& root, std::string_view self_cgroup) {
    std::optional<double> smallest;
    while (!self_cgroup.empty()) {
        const size_t end = std::min(self_cgroup.find('\n'), self_cgroup.size());
        const std::string_view line = self_cgroup.substr(0, end);
        self_cgroup.remove_prefix(std::min(end + 1, self_cgroup.size()));
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string_view::npos || second == std::string_view::npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1),
                               group = line.substr(second + 1);
        if (controllers.empty()) {  // v2; beside v1 it is mounted in a folder of its own
            take_smallest(smallest, root, group, quota_v2);
            take_smallest(smallest, root / "unified", group, quota_v2);
        } else if (lists(controllers, "cpu")) {
            take_smallest(smallest, root / "cpu", group, quota_v1);
            take_smallest(smallest, root / "cpu,cpuacct", group, quota_v1);
        }
    }
    if (!smallest.has_value()) return std::nullopt;
    return std::max(1, static_cast<int>(std::ceil(std::min(*smallest, 1e6) - 1e-9)));
}

int startable_threads(int wanted) {
    std::mutex mutex;
    std::condition_variable over;
    bool done = false;
    std::vector<std::thread> started;
    try {
        started.reserve(static_cast<size_t>(std::max(0, wanted)));
        while (static_cast<int>(started.size()) < wanted) {
            started.emplace_back([&] {
                std::unique_lock lock(mutex);
                over.wait(lock, [&] { return done; });
            });
        }
    } catch (const std::system_error&) {  // no more can be started: that is the answer
    }
    {
        const std::lock_guard lock(mutex);
        done = true;
    }
    over.notify_all();
    for (std::thread& thread : started) thread.join();
    return static_cast<int>(started.size());
}

}  // namespace enmesh
