#pragma once

#include <string>
#include <vector>

#include "enmesh/accel/common/accelerator.hpp"

namespace enmesh::accel::systolic {

struct SystolicConfig {
    int rows = 32, cols = 32;
    double clock_hz = 1e9;
    bool charge_os_drain = false;
    std::string dataflow = "auto";  ///< ws | os | is | auto
};
std::vector<Parameter> parameters(SystolicConfig& config);

/// The dense array as an accelerator: the products alone, in the SCALE-Sim convention. No memory, no vector
/// work, no energy; N:M operands run dense, and every product in the dataflow that is fastest for it.
class Machine : public Accelerator {
  public:
    explicit Machine(SystolicConfig config = {}) : config_(std::move(config)) {}

    std::string name() const override { return "systolic"; }
    std::unique_ptr<Accelerator> clone() const override { return std::make_unique<Machine>(config_); }
    std::vector<Parameter> parameters() override { return systolic::parameters(config_); }
    int64_t elements() const override { return int64_t{config_.rows} * config_.cols; }
    double clock_hz() const override { return config_.clock_hz; }
    Abilities abilities() const override;
    std::string lacks(Facility facility) const override;
    Report cost(const Workload& workload, const Schedule& schedule) const override;

  private:
    SystolicConfig config_;
};

}  // namespace enmesh::accel::systolic
