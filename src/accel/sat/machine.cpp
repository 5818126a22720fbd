#include "enmesh/accel/sat/machine.hpp"

#include "accel/common/schedule_file.hpp"
#include "accel/sat/schedule_table.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

/// The scheduler's result, as the interface hands it around.
struct Held : accel::Schedule {
    explicit Held(sat::Schedule held) : schedule(std::move(held)) {}
    sat::Schedule schedule;
};

const sat::Schedule& held(const accel::Schedule& schedule) {
    const auto* const ours = dynamic_cast<const Held*>(&schedule);
    if (ours == nullptr) refuse("the schedule is another machine's");
    return ours->schedule;
}

struct Cache : PlanCache {
    ScheduleCache known;
};

}  // namespace

void Machine::check() const { sat::check(config_.stce); }

Abilities Machine::abilities() const {
    const int most = config_.stce.max_group;
    return {.nm = {{.takes = [most](Pattern pattern) { return pattern.m <= most; }}}};
}

int Machine::cost_model_version() const { return sat::cost_model_version; }

SchedulePtr Machine::plan(const Workload& workload, PlanCache* cache) const {
    if (auto* const ours = dynamic_cast<Cache*>(cache))
        return std::make_shared<Held>(find_schedule(config_, workload, ours->known));
    return std::make_shared<Held>(find_schedule(config_, workload));
}

std::unique_ptr<PlanCache> Machine::plan_cache() const { return std::make_unique<Cache>(); }

std::string Machine::schedule_text(const Workload& workload, const accel::Schedule& schedule,
                                   const std::string& table) const {
    return detail::to_toml(config_, workload, held(schedule), table);
}

SchedulePtr Machine::read_schedule(const ScheduleSource& source, const Workload& workload) const {
    return std::make_shared<Held>(detail::parse_schedule(source, config_, workload));
}

Report Machine::cost(const Workload& workload, const accel::Schedule& schedule) const {
    return simulate(config_, workload, held(schedule));
}

ExactRun Machine::execute(const Workload& workload, const accel::Schedule& schedule, const Report& report,
                          const ExactOptions& options) const {
    return run_exact(config_, workload, held(schedule), report, options.seed, options.choice,
                     options.progress, options.most_element_cycles);
}

std::string Machine::registers(const Workload& workload, const accel::Schedule& schedule, uint64_t seed,
                               const ProductChoice& choice, int64_t cycle) const {
    return registers_at(config_, workload, held(schedule), seed, choice, cycle);
}

std::vector<std::string> Machine::sample_sweeps() const {
    return {"array=16x16,32x32,64x64", "memory.peak_bytes_per_second=19.2e9,38.4e9,76.8e9"};
}

}  // namespace enmesh::accel::sat
