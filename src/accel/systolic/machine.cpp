#include "enmesh/accel/systolic/machine.hpp"

#include "enmesh/accel/systolic/systolic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::systolic {
namespace {

std::vector<Dataflow> choices_of(const std::string& dataflow) {
    if (dataflow == "ws") return {Dataflow::ws};
    if (dataflow == "os") return {Dataflow::os};
    if (dataflow == "is") return {Dataflow::is};
    if (dataflow == "auto") return {Dataflow::ws, Dataflow::os, Dataflow::is};
    refuse("dataflow '{}' is none of ws, os, is and auto", dataflow);
}

ProductResult run_product(const SystolicConfig& config, const Product& product,
                          const std::vector<Dataflow>& choices) {
    const Systolic array{config.rows, config.cols, config.charge_os_drain};
    ProductResult result;
    result.product = product;
    const double elements = static_cast<double>(config.rows) * static_cast<double>(config.cols);
    double filling = 0, streaming = 0;
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
        filling = static_cast<double>(total) - issuing;
        streaming = issuing;
    }
    result.product.sparse = Operand::none;
    result.multiply_adds = dense_multiply_adds(product);
    const double ideal = static_cast<double>(result.multiply_adds) / elements;
    result.utilization = ideal / static_cast<double>(result.cycles);
    result.stalls = {{stall::fill_drain, filling}, {stall::tail, streaming - ideal},
                     {stall::adder_latency, 0},    {stall::row_link, 0},
                     {stall::bandwidth, 0},        {stall::packing, 0}};
    result.busy = {{0,
                    static_cast<double>(result.cycles),
                    {{"bandwidth_stall_cycles", 0.0}, {"packing_stall_cycles", 0.0}}}};
    return result;
}

}  // namespace

std::vector<Parameter> parameters(SystolicConfig& c) {
    return {{"array.rows", "", "rows of the array", "ours: 32", &c.rows, 1, 65536, {}},
            {"array.cols", "", "columns of the array", "ours: 32", &c.cols, 1, 65536, {}},
            {"array.frequency_hz",
             "Hz",
             "clock, for the time in seconds",
             "ours: 1 GHz",
             &c.clock_hz,
             1e6,
             1e11,
             {}},
            {"array.charge_os_drain",
             "",
             "output-stationary folds pay their drain (SCALE-Sim v3 leaves it out)",
             "ours: no",
             &c.charge_os_drain,
             0,
             1,
             {}},
            {"array.dataflow",
             "",
             "ws, os, is, or the fastest for each product",
             "ours: the fastest",
             &c.dataflow,
             0,
             0,
             {"ws", "os", "is", "auto"}}};
}

Abilities Machine::abilities() const {
    return {.otherwise = "the systolic array is dense; N:M columns are not used", .vector_work = false};
}

std::string Machine::lacks(Facility facility) const {
    switch (facility) {
        case Facility::dataflow:
            return {};
        case Facility::schedule:
            return "there is nothing to schedule: every product runs in its fastest dataflow";
        case Facility::exact:
        case Facility::registers:
            return "the array is a formula, without values and registers";
    }
    return {};
}

Report Machine::cost(const Workload& workload, const Schedule& /*schedule*/) const {
    accel::check(workload);
    const std::vector<Dataflow> choices = choices_of(config_.dataflow);
    Report report = report_of(workload, name(), elements(), config_.clock_hz);
    report.tracks = {"array"};
    for (const Product& product : workload.products)
        report.products.push_back(run_product(config_, product, choices));
    take_turns(report, workload);
    return report;
}

}  // namespace enmesh::accel::systolic
