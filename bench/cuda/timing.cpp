#include "timing.hpp"

#include <algorithm>
#include <vector>

namespace enmesh::cuda {
namespace {

int64_t flush_bytes() {
    int device = 0, l2 = 0;
    check(cudaGetDevice(&device), "device");
    check(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device), "size of L2");
    return std::max<int64_t>(4 * int64_t{l2}, int64_t{256} << 20);
}

}  // namespace

Timer::Timer() : flush_(flush_bytes()) {
    check(cudaEventCreate(&begin_), "event");
    check(cudaEventCreate(&end_), "event");
}

Timer::~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
}

Spread Timer::time(const Run& run, int rounds) {
    run();  // warm-up
    std::vector<double> taken;
    for (int round = 0; round < rounds; ++round) {
        check(cudaMemsetAsync(flush_.get(), round & 0xFF, flush_.bytes()), "flushing L2");
        check(cudaEventRecord(begin_), "event");
        run();
        check(cudaEventRecord(end_), "event");
        check(cudaEventSynchronize(end_), "product");
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, begin_, end_), "event");
        taken.push_back(static_cast<double>(milliseconds) * 1e3);
    }
    std::sort(taken.begin(), taken.end());
    const size_t half = taken.size() / 2;
    const double median = taken.size() % 2 == 1 ? taken[half] : (taken[half - 1] + taken[half]) / 2;
    return {median, taken.front(), taken.back(), rounds};
}

}  // namespace enmesh::cuda
