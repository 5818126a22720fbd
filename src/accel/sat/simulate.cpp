#include "enmesh/accel/simulate.hpp"

#include <algorithm>
#include <array>

#include "enmesh/accel/systolic/systolic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

/// total + repeat · cycles, refused where 64 bits cannot count it.
int64_t counted_sum(int64_t total, int64_t repeat, int64_t cycles) {
    int64_t more = 0;
    if (__builtin_mul_overflow(repeat, cycles, &more) || __builtin_add_overflow(total, more, &total))
        refuse("the step takes more cycles than can be counted");
    return total;
}

ProductResult on_systolic(const SystolicConfig& config, const Product& product,
                          std::span<const Dataflow> choices) {
    const Systolic array{static_cast<int>(config.rows), static_cast<int>(config.cols),
                         config.charge_os_drain};  // simulate_systolic has checked that they fit
    ProductResult result;
    result.product = product;
    const double elements = static_cast<double>(config.rows) * static_cast<double>(config.cols);
    for (const Dataflow dataflow : choices) {
        int64_t total = 0;
        double issuing = 0;  // cycles in which folds stream, had they no fill and drain
        for (const Phase& phase : phases(product)) {
            const int64_t repeat = phase.count * product.batch;
            const SystolicCycles one = systolic_cycles(array, dataflow, phase.rows, product.n, phase.k());
            total = counted_sum(total, repeat, one.cycles);
            issuing += static_cast<double>(repeat * one.multiply_adds) / (elements * one.mapping_efficiency);
        }
        if (result.cycles != 0 && total >= result.cycles) continue;
        result.cycles = total;
        result.dataflow = to_string(dataflow);
        result.stalls.fill_drain = static_cast<double>(total) - issuing;
        result.stalls.tail = issuing;
    }
    result.product.sparse = Operand::none;
    result.multiply_adds = dense_multiply_adds(product);
    const double ideal = static_cast<double>(result.multiply_adds) / elements;
    result.utilization = ideal / static_cast<double>(result.cycles);
    result.stalls.tail -= ideal;
    return result;
}

std::vector<Dataflow> systolic_choices(const std::string& name) {
    if (name == "ws") return {Dataflow::ws};
    if (name == "os") return {Dataflow::os};
    if (name == "is") return {Dataflow::is};
    if (name == "auto") return {Dataflow::ws, Dataflow::os, Dataflow::is};
    const std::array<std::string, 4> known = {"ws", "os", "is", "auto"};
    refuse("--dataflow {}: is none of ws, os, is and auto{}", name, suggestion(name, known));
}

}  // namespace

int64_t Report::multiply_adds() const {
    int64_t total = 0;
    for (const ProductResult& result : products) total += result.multiply_adds;
    return total;
}

double Report::gflops() const {
    return seconds > 0 ? 2e-9 * static_cast<double>(multiply_adds()) / seconds : 0;
}

double Report::gflops_per_watt() const {
    const double joules = energy.total();
    return joules > 0 ? 2e-9 * static_cast<double>(multiply_adds()) / joules : 0;
}

void place_in_order(Report& report, const Workload& workload) {
    struct Slot {
        int64_t position;
        int64_t cycles;
        int64_t* start;
    };
    std::vector<Slot> slots;
    for (size_t i = 0; i < report.products.size(); ++i) {
        slots.push_back(
            {workload.products[i].position, report.products[i].cycles, &report.products[i].start_cycle});
    }
    for (size_t i = 0; i < report.vector_work.size(); ++i) {
        const size_t ops = workload.vector_ops.size();
        const int64_t position =
            i < ops ? workload.vector_ops[i].position : workload.updates[i - ops].position;
        slots.push_back({position, report.vector_work[i].cycles, &report.vector_work[i].start_cycle});
    }
    std::stable_sort(slots.begin(), slots.end(),
                     [](const Slot& a, const Slot& b) { return a.position < b.position; });
    for (const Slot& slot : slots) {
        *slot.start = report.total_cycles;
        report.total_cycles = counted_sum(report.total_cycles, 1, slot.cycles);
    }
}

Report simulate_systolic(const SystolicConfig& config, const Workload& workload,
                         const std::string& dataflow) {
    check(workload);
    const std::vector<Dataflow> choices = systolic_choices(dataflow);
    if (config.rows < 1 || config.cols < 1 || config.rows > 65536 || config.cols > 65536)
        refuse("systolic array of {} x {}: rows and cols must be 1..65536", config.rows, config.cols);
    Report report;
    report.network = workload.name;
    report.method = workload.method;
    report.accelerator = "systolic";
    report.images = workload.images;
    report.elements = config.rows * config.cols;
    report.clock_hz = config.clock_hz;
    for (const Product& product : workload.products) {
        report.products.push_back(on_systolic(config, product, choices));
        report.products.back().start_cycle = report.total_cycles;
        report.total_cycles = counted_sum(report.total_cycles, 1, report.products.back().cycles);
    }
    report.seconds = static_cast<double>(report.total_cycles) / config.clock_hz;
    return report;
}

}  // namespace enmesh::accel
