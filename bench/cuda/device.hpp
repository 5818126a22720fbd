#pragma once

#include <optional>
#include <string>

/// The GPU and what its driver says of it now.
namespace enmesh::cuda {

struct Device {
    std::string name;
    int multiprocessors = 0, compute_capability = 0;  ///< 80, 90, …
    double l2_bytes = 0, memory_bytes = 0;
    std::string cuda_driver, cuda_runtime;  ///< "13.0"
};
/// GPU 0, or why it cannot be used ("no CUDA driver here", …) in `reason`.
std::optional<Device> find_device(std::string& reason);

/// Absent: the driver does not tell.
struct DeviceState {
    std::optional<double> sm_megahertz, memory_megahertz, watts, celsius;
};

/// NVIDIA's management library, read only; opened at run time, so that a machine without it is no error.
class Monitor {
  public:
    Monitor();
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;
    ~Monitor();

    /// "" if it answers.
    const std::string& why_not() const { return why_not_; }
    DeviceState state() const;
    std::optional<double> max_sm_megahertz() const, power_limit_watts() const;
    std::string driver() const;  ///< "" if unknown

  private:
    template <typename Function>
    Function function(const char* name) const;

    std::string why_not_;
    void* library_ = nullptr;
    void* device_ = nullptr;
};

}  // namespace enmesh::cuda
