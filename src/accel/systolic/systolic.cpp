#include "enmesh/accel/systolic/systolic.hpp"

#include <algorithm>
#include <array>

#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::systolic {
namespace {

struct Extents {
    int64_t rows, cols, time;
};

Extents extents(Dataflow dataflow, int64_t m, int64_t n, int64_t k) {
    switch (dataflow) {
        case Dataflow::ws:
            return {k, n, m};
        case Dataflow::is:
            return {k, m, n};
        case Dataflow::os:
            break;
    }
    return {m, n, k};
}

void check_sizes(int64_t m, int64_t n, int64_t k) {
    constexpr int64_t largest = int64_t{1} << 31;
    const std::array sizes = {m, n, k};
    for (size_t i = 0; i < sizes.size(); ++i)
        if (sizes[i] < 1 || sizes[i] > largest)
            refuse("product size {} is {}: it must be 1..2^31", "mnk"[i], sizes[i]);
    if (static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) > 0x1p53)
        refuse("product {} x {} x {} has more than 2^53 multiply-adds", m, n, k);
}

}  // namespace

SystolicCycles systolic_cycles(const Systolic& array, Dataflow dataflow, int64_t m, int64_t n, int64_t k) {
    if (array.rows < 1 || array.cols < 1 || array.rows > 65536 || array.cols > 65536)
        refuse("systolic array of {} x {}: rows and cols must be 1..65536", array.rows, array.cols);
    check_sizes(m, n, k);

    const Extents extent = extents(dataflow, m, n, k);
    const bool drained = dataflow != Dataflow::os || array.charge_os_drain;
    const int64_t fold = (drained ? 2 : 1) * int64_t{array.rows} + array.cols + extent.time - 2;
    SystolicCycles result;
    result.folds = ceil_div(extent.rows, array.rows) * ceil_div(extent.cols, array.cols);
    result.cycles = result.folds * fold;
    result.multiply_adds = m * n * k;
    const double elements = static_cast<double>(array.rows) * array.cols;
    result.utilization =
        static_cast<double>(result.multiply_adds) / (static_cast<double>(result.cycles) * elements);
    result.mapping_efficiency = static_cast<double>(extent.rows) * static_cast<double>(extent.cols) /
                                (static_cast<double>(result.folds) * elements);
    return result;
}

int64_t systolic_compacted_k(int64_t k, Pattern pattern) {
    return k / pattern.m * pattern.n + std::min<int64_t>(k % pattern.m, pattern.n);
}

}  // namespace enmesh::accel::systolic
