#include <algorithm>
#include <cmath>
#include <limits>

#include "accel/sat/cost.hpp"
#include "accel/sat/product_pieces.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

/// The trace's tracks, in the order of Report::tracks.
enum Track : size_t { stce, sore, wuve, dram };
const std::vector<std::string> track_names = {"STCE", "SORE", "WUVE", "DRAM"};

double dram_bytes(const Activity& a) { return a.dram_read_bytes + a.dram_write_bytes; }

std::vector<Figure> dram_figures(const Activity& a) {
    return {{"read", a.dram_read_bytes}, {"write", a.dram_write_bytes}};
}

void add_busy(const SatConfig& config, ProductResult& result) {
    const Activity& a = result.activity;
    result.busy.push_back({stce,
                           static_cast<double>(result.cycles),
                           {{"bandwidth_stall_cycles", result.stalls.of("bandwidth")},
                            {"packing_stall_cycles", result.stalls.of("packing")}}});
    if (dram_bytes(a) > 0)
        result.busy.push_back({dram, dram_bytes(a) / config.bytes_per_cycle(), dram_figures(a)});
    if (a.packed_values > 0) {
        const double groups = a.packed_values / result.product.pattern.m;
        result.busy.push_back({sore, groups / config.sore.groups_per_cycle, {{"values", a.packed_values}}});
    }
}

void add_busy(VectorResult& result) {
    const Activity& a = result.activity;
    result.busy.push_back({wuve, static_cast<double>(result.cycles), {{"lane_cycles", result.lane_cycles}}});
    if (result.memory_cycles > 0)
        result.busy.push_back({dram, static_cast<double>(result.memory_cycles), dram_figures(a)});
    if (a.packed_values > 0)
        result.busy.push_back({sore, static_cast<double>(result.lane_cycles), {{"values", a.packed_values}}});
}

/// What the phases cost; taken from the search where that has found it out.
PieceCost cost_of(const SatConfig& config, const Product& product, const ProductSchedule& schedule) {
    const size_t count = schedule.mappings.size();
    detail::require_phases(product, count);
    const bool searched = schedule.costs.size() == count && schedule.key == detail::key_of(config, product);
    detail::ProductPieces pieces(product);
    PieceCost sum;
    for (size_t phase = 0; phase < count; ++phase) {
        const Mapping& mapping = schedule.mappings[phase];
        if (searched && schedule.costs[phase].mapping == mapping)
            sum += schedule.costs[phase].cost;
        else
            sum += cost(config, pieces.at(phase, mapping.indexed), mapping);
    }
    return sum;
}

ProductResult run_product(const SatConfig& config, const Product& product, const ProductSchedule& schedule) {
    ProductResult result;
    result.product = product;
    result.multiply_adds = useful_multiply_adds(product);
    for (const Mapping& mapping : schedule.mappings) {
        const std::string flow = to_string(mapping.engine.dataflow);
        if (result.dataflow.empty())
            result.dataflow = flow;
        else if (result.dataflow.find(flow) == std::string::npos)
            result.dataflow += "+" + flow;
    }
    const PieceCost sum = cost_of(config, product, schedule);
    const double elements = static_cast<double>(config.elements());
    const auto cycles = [&](int64_t element_cycles) {
        return static_cast<double>(element_cycles) / elements;
    };
    result.cycles = sum.cycles;
    result.figures = {{.name = "engine_cycles", .value = sum.engine_cycles, .cycles = true}};
    result.stalls = {{stall::fill_drain, cycles(sum.engine.fill_drain + sum.engine.load)},
                     {stall::tail, cycles(sum.engine.tail)},
                     {stall::adder_latency, cycles(sum.engine.adder)},
                     {stall::row_link, cycles(sum.engine.link)},
                     {stall::bandwidth, static_cast<double>(sum.bandwidth_cycles)},
                     {stall::packing, static_cast<double>(sum.packing_cycles)}};
    result.utilization =
        static_cast<double>(result.multiply_adds) / (static_cast<double>(sum.cycles) * elements);
    result.activity = sum.activity;
    add_busy(config, result);
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
    add_busy(result);
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
    Report report = report_of(workload, "sat", config.elements(), config.stce.clock_hz);
    report.tracks = track_names;
    for (size_t i = 0; i < workload.products.size(); ++i) {
        report.products.push_back(run_product(config, workload.products[i], schedule.products[i]));
    }
    for (const VectorOp& op : workload.vector_ops) report.vector_work.push_back(run_vector(config, op));
    for (const Update& update : workload.updates) report.vector_work.push_back(run_update(config, update));
    take_turns(report, workload);
    add_energy(report, table);
    return report;
}

}  // namespace enmesh::accel::sat
