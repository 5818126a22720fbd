#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace enmesh {

/// What this process may use of the machine's processors, each a count of threads that can run at once.
struct ProcessorLimits {
    int machine = 1;             ///< processors that are online
    int affinity = 1;            ///< those that the process may run on (taskset, cpusets, Slurm)
    std::optional<int> quota;    ///< a container's limit of processor time, rounded up (cgroup v1 and v2)
    std::optional<int> openmp;   ///< OMP_THREAD_LIMIT
    std::optional<int> request;  ///< OMP_NUM_THREADS

    /// The most threads that a parallel region gets: only `openmp` bounds it; more threads than processors
    /// are slow, not impossible.
    int most() const;
    /// Threads where nobody asks for a number: `request`, else the smallest of the others.
    int standard() const;
    /// What made `standard()` smaller than the machine, in words; "" where nothing did.
    std::string reason() const;
};

/// The limits of this process; read once, at the first call.
const ProcessorLimits& processor_limits();

/// The quota of the cgroup that `self_cgroup` (the text of /proc/self/cgroup) names, and of every group above
/// it, under the file system `root` (/sys/fs/cgroup): the smallest, in processors, rounded up. Nothing where
/// there is no limit.
std::optional<int> cgroup_quota(const std::filesystem::path& root, std::string_view self_cgroup);

/// How many of `wanted` more threads this process can start now; they end at once. Fewer than asked for where
/// the user's limit of processes (ulimit -u), a container's limit or memory is reached.
int startable_threads(int wanted);

}  // namespace enmesh
