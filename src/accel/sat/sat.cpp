#include <algorithm>
#include <cmath>
#include <limits>

#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

ProductResult run_product(const SatConfig& config, const Product& product, const ProductSchedule& schedule) {
    ProductResult result;
    result.product = product;
    result.mappings = schedule.mappings;
    result.multiply_adds = useful_multiply_adds(product);
    PieceCost sum;
    const std::vector<Piece> parts = pieces(product, schedule.mappings);
    for (size_t phase = 0; phase < schedule.mappings.size(); ++phase) {
        const Mapping& mapping = schedule.mappings[phase];
        sum += cost(config, parts[phase], mapping);
        const std::string flow = to_string(mapping.engine.dataflow);
        if (result.dataflow.empty())
            result.dataflow = flow;
        else if (result.dataflow.find(flow) == std::string::npos)
            result.dataflow += "+" + flow;
    }
    const double elements = static_cast<double>(config.elements());
    const auto cycles = [&](int64_t element_cycles) {
        return static_cast<double>(element_cycles) / elements;
    };
    result.cycles = sum.cycles;
    result.engine_cycles = sum.engine_cycles;
    result.stalls = {cycles(sum.engine.fill_drain + sum.engine.load),
                     cycles(sum.engine.tail),
                     cycles(sum.engine.adder),
                     cycles(sum.engine.link),
                     static_cast<double>(sum.bandwidth_cycles),
                     static_cast<double>(sum.packing_cycles)};
    result.utilization =
        static_cast<double>(result.multiply_adds) / (static_cast<double>(sum.cycles) * elements);
    result.activity = sum.activity;
    return result;
}

int64_t memory_cycles(const SatConfig& config, double bytes) {
    return static_cast<int64_t>(std::ceil(bytes / config.bytes_per_cycle()));
}

void finish(const SatConfig& config, VectorResult& result) {
    result.memory_cycles =
        memory_cycles(config, result.activity.dram_read_bytes + result.activity.dram_write_bytes);
    result.cycles = config.double_buffering ? std::max(result.lane_cycles, result.memory_cycles)
                                            : result.lane_cycles + result.memory_cycles;
}

VectorResult run_vector(const SatConfig& config, const VectorOp& op) {
    const VectorCost& row = config.cost(op.kind);
    const double elements = static_cast<double>(op.elements);
    VectorResult result;
    result.kind = op.kind;
    result.layer = op.layer;
    result.stage = op.stage;
    result.elements = op.elements;
    result.lane_cycles = vector_cycles(config.wuve, row, op.elements, op.rounds);
    result.activity.lane_ops = elements * row.lane_ops * static_cast<double>(op.rounds);
    result.activity.dram_read_bytes = elements * row.read_bytes;
    result.activity.dram_write_bytes = elements * row.write_bytes;
    finish(config, result);
    return result;
}

VectorResult run_update(const SatConfig& config, const Update& update) {
    const VectorCost& row = config.cost(update.kind);
    const int directions = config.pregeneration ? update.directions() : 0;
    const int64_t count = update.rows * update.cols * update.repeats;
    const double elements = static_cast<double>(count);
    VectorResult result;
    result.kind = update.kind;
    result.layer = update.layer;
    result.stage = Stage::WU;
    result.elements = count;
    const WeightUpdate work{
        update.rows, update.cols, update.repeats, row.lane_ops, directions > 0 ? update.pattern : Pattern{},
        directions};
    result.lane_cycles = update_cycles(config.wuve, config.sore, work);
    result.activity.lane_ops = elements * row.lane_ops;
    result.activity.dram_read_bytes = elements * row.read_bytes;
    result.activity.dram_write_bytes = elements * row.write_bytes;
    if (directions > 0) {
        // FF's rows run along the input channels, BP's along the output channels.
        int64_t groups = 0;
        if (update.along_cols) groups += update.rows * packed_groups(update.pattern, update.cols);
        if (update.along_rows) groups += update.cols * packed_groups(update.pattern, update.rows);
        const double group_bytes = update.pattern.n * (2 + update.pattern.index_bits() / 8.0);
        result.activity.dram_write_bytes += static_cast<double>(groups * update.repeats) * group_bytes;
        result.activity.packed_values = directions * elements;
    }
    finish(config, result);
    return result;
}

}  // namespace

Report simulate(const SatConfig& config, const Workload& workload, const Schedule& schedule) {
    check(workload);
    if (schedule.products.size() != workload.products.size())
        refuse("the schedule has another number of products than the workload");
    const EnergyTable table = energy_table(config.energy);
    Report report;
    report.network = workload.name;
    report.method = workload.method;
    report.accelerator = "sat";
    report.images = workload.images;
    report.elements = config.elements();
    report.clock_hz = config.stce.clock_hz;
    report.dram_bytes_per_cycle = config.bytes_per_cycle();
    report.pack_groups_per_cycle = config.sore.groups_per_cycle;
    report.energy_table = table.name;
    for (size_t i = 0; i < workload.products.size(); ++i) {
        report.products.push_back(run_product(config, workload.products[i], schedule.products[i]));
    }
    for (const VectorOp& op : workload.vector_ops) report.vector_work.push_back(run_vector(config, op));
    for (const Update& update : workload.updates) report.vector_work.push_back(run_update(config, update));
    place_in_order(report, workload);
    report.seconds = static_cast<double>(report.total_cycles) / config.stce.clock_hz;
    Activity all;
    for (const ProductResult& result : report.products) all += result.activity;
    for (const VectorResult& result : report.vector_work) all += result.activity;
    report.energy = energy_of(table, all, report.seconds);
    return report;
}

}  // namespace enmesh::accel
