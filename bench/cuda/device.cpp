#include "device.hpp"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <array>

namespace enmesh::cuda {
namespace {

// From NVML's documentation: return codes, clock types and sensors are integers, a device is a pointer.
constexpr int nvml_clock_sm = 1, nvml_clock_memory = 2, nvml_temperature_gpu = 0;
using NvmlInit = int (*)();
using NvmlByBus = int (*)(const char*, void**);
using NvmlClock = int (*)(void*, int, unsigned*);
using NvmlNumber = int (*)(void*, unsigned*);
using NvmlText = int (*)(char*, unsigned);

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

std::optional<Device> find_device(std::string& reason) {
    int count = 0;
    const cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || count == 0) {
        reason = found != cudaSuccess ? cudaGetErrorString(found) : "no device";
        return std::nullopt;
    }
    cudaDeviceProp properties{};
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, 0); error != cudaSuccess) {
        reason = cudaGetErrorString(error);
        return std::nullopt;
    }
    if (properties.major < 8) {
        reason = std::string(properties.name) + " has no Sparse Tensor Cores";
        return std::nullopt;
    }
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    return Device{properties.name,
                  properties.multiProcessorCount,
                  properties.major * 10 + properties.minor,
                  static_cast<double>(properties.l2CacheSize),
                  static_cast<double>(properties.totalGlobalMem),
                  version_text(driver),
                  version_text(runtime)};
}

template <typename Function>
Function Monitor::function(const char* name) const {
    return library_ != nullptr ? reinterpret_cast<Function>(dlsym(library_, name)) : nullptr;
}

Monitor::Monitor() {
    library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library_ == nullptr) {
        why_not_ = "libnvidia-ml.so.1 cannot be opened";
        return;
    }
    const auto init = function<NvmlInit>("nvmlInit_v2");
    const auto by_bus = function<NvmlByBus>("nvmlDeviceGetHandleByPciBusId_v2");
    std::array<char, 32> bus{};
    if (init == nullptr || by_bus == nullptr || init() != 0) {
        why_not_ = "NVML does not start";
    } else if (cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), 0) != cudaSuccess ||
               by_bus(bus.data(), &device_) != 0) {
        device_ = nullptr;
        why_not_ = "NVML does not know the device";
    }
}

Monitor::~Monitor() {
    if (const auto shutdown = function<NvmlInit>("nvmlShutdown"); shutdown != nullptr) shutdown();
    if (library_ != nullptr) dlclose(library_);
}

DeviceState Monitor::state() const {
    DeviceState state;
    if (device_ == nullptr) return state;
    unsigned value = 0;
    if (const auto clock = function<NvmlClock>("nvmlDeviceGetClockInfo"); clock != nullptr) {
        if (clock(device_, nvml_clock_sm, &value) == 0) state.sm_megahertz = value;
        if (clock(device_, nvml_clock_memory, &value) == 0) state.memory_megahertz = value;
    }
    if (const auto power = function<NvmlNumber>("nvmlDeviceGetPowerUsage");
        power != nullptr && power(device_, &value) == 0)
        state.watts = value / 1e3;
    if (const auto heat = function<NvmlClock>("nvmlDeviceGetTemperature");
        heat != nullptr && heat(device_, nvml_temperature_gpu, &value) == 0)
        state.celsius = value;
    return state;
}

std::optional<double> Monitor::max_sm_megahertz() const {
    unsigned value = 0;
    const auto clock = function<NvmlClock>("nvmlDeviceGetMaxClockInfo");
    if (device_ == nullptr || clock == nullptr || clock(device_, nvml_clock_sm, &value) != 0)
        return std::nullopt;
    return value;
}

std::optional<double> Monitor::power_limit_watts() const {
    unsigned value = 0;
    const auto limit = function<NvmlNumber>("nvmlDeviceGetEnforcedPowerLimit");
    if (device_ == nullptr || limit == nullptr || limit(device_, &value) != 0) return std::nullopt;
    return value / 1e3;
}

std::string Monitor::driver() const {
    std::array<char, 96> text{};
    const auto version = function<NvmlText>("nvmlSystemGetDriverVersion");
    if (device_ == nullptr || version == nullptr ||
        version(text.data(), static_cast<unsigned>(text.size())) != 0)
        return "";
    return text.data();
}

}  // namespace enmesh::cuda
