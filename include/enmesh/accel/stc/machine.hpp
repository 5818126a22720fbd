#pragma once

#include <string>

#include "enmesh/accel/common/accelerator.hpp"
#include "enmesh/accel/stc/gpu.hpp"

namespace enmesh::accel::stc {

/// A GPU with Sparse Tensor Cores as an accelerator.
class Machine : public Accelerator {
  public:
    /// One of gpu_names().
    explicit Machine(const std::string& name);
    explicit Machine(GpuConfig config) : config_(std::move(config)) {}

    std::string name() const override { return config_.name; }
    std::unique_ptr<Accelerator> clone() const override { return std::make_unique<Machine>(config_); }
    std::vector<Parameter> parameters() override { return stc::parameters(config_); }
    int64_t elements() const override;
    double clock_hz() const override { return config_.clock_hz; }
    Abilities abilities() const override;
    std::string lacks(Facility facility) const override;
    Report cost(const Workload& workload, const Schedule& schedule) const override;

  private:
    GpuConfig config_;
};

}  // namespace enmesh::accel::stc
