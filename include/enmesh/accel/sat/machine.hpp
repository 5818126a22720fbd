#pragma once

#include "enmesh/accel/common/accelerator.hpp"
#include "enmesh/accel/sat/config.hpp"

namespace enmesh::accel::sat {

/// SAT as an accelerator: `simulate(sat::Machine({.stce = {.rows = 16}}), workload)`.
class Machine : public Accelerator {
  public:
    explicit Machine(SatConfig config = {}) : config_(std::move(config)) {}
    const SatConfig& config() const { return config_; }

    std::string name() const override { return "sat"; }
    std::unique_ptr<Accelerator> clone() const override { return std::make_unique<Machine>(config_); }
    std::vector<Parameter> parameters() override { return sat::parameters(config_); }
    void check() const override;
    int64_t elements() const override { return config_.elements(); }
    double clock_hz() const override { return config_.stce.clock_hz; }
    Abilities abilities() const override;
    std::string lacks(Facility /*facility*/) const override { return {}; }
    int cost_model_version() const override;

    SchedulePtr plan(const Workload& workload, PlanCache* cache = nullptr) const override;
    std::unique_ptr<PlanCache> plan_cache() const override;
    std::string schedule_text(const Workload& workload, const accel::Schedule& schedule,
                              const std::string& table = {}) const override;
    SchedulePtr read_schedule(const ScheduleSource& source, const Workload& workload) const override;
    Report cost(const Workload& workload, const accel::Schedule& schedule) const override;
    ExactRun execute(const Workload& workload, const accel::Schedule& schedule, const Report& report,
                     const ExactOptions& options) const override;
    std::string registers(const Workload& workload, const accel::Schedule& schedule, uint64_t seed,
                          const ProductChoice& choice, int64_t cycle) const override;
    std::vector<ModelBenchmark> benchmarks() const override;
    std::vector<std::string> sample_sweeps() const override;

  private:
    SatConfig config_;
};

}  // namespace enmesh::accel::sat
