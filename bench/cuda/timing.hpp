#pragma once

#include "products.hpp"

namespace enmesh::cuda {

/// Microseconds of a run.
struct Spread {
    double median = 0, min = 0, max = 0;
    int rounds = 0;
};

/// Times by CUDA events. Before each round a memory larger than L2 is written: operands come from DRAM, as
/// the model counts them, and the launch is enqueued while the GPU is busy, so that the host's time is not in
/// it.
class Timer {
  public:
    Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer();

    Spread time(const Run& run, int rounds);
    /// A few rounds, to choose by.
    double quick(const Run& run) { return time(run, 3).median; }
    int64_t flushed_bytes() const { return flush_.count(); }

  private:
    DeviceMemory<unsigned char> flush_;
    cudaEvent_t begin_{}, end_{};
};

}  // namespace enmesh::cuda
