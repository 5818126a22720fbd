#include "cli/options/team.hpp"

#include <fmt/format.h>

#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/log.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/processors.hpp"

namespace enmesh::cli {

void use_threads(int requested, int more) {
    require_between("--threads", requested, 0, 4096);
    const ProcessorLimits& limits = processor_limits();
    set_threads(requested > 0 ? requested : limits.standard());
    if (requested > threads())
        note("{} of the {} threads asked for are used: OMP_THREAD_LIMIT", threads(), requested);
    if (requested == 0 && !limits.reason().empty())
        note("threads: {} of {} processors ({})", threads(), limits.machine, limits.reason());
    const int others = threads() - 1 + more, started = startable_threads(others);
    if (started < others) {
        fail(
            "{} threads are needed, and the system starts no more than {} (the limits of processes: ulimit "
            "-u, or the container's): "
            "raise the limit or give fewer --threads",
            others + 1, started + 1);
    }
}

}  // namespace enmesh::cli
