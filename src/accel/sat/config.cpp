#include "enmesh/accel/sat/config.hpp"

#include "accel/common/check_ranges.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

constexpr double mebi = 1024.0 * 1024.0;

/// A parameter of an engine, with the engine's own limits.
template <typename Engine>
struct EngineParameters {
    std::vector<Parameter>& list;
    Engine& engine;
    std::span<const ParameterRange<Engine>> ranges;

    void add(const char* key, const char* unit, const char* about, const char* origin, int Engine::*field) {
        const ParameterRange<Engine>& range = range_of(ranges, field);
        list.push_back({key,
                        unit,
                        about,
                        origin,
                        &(engine.*field),
                        static_cast<double>(range.least),
                        static_cast<double>(range.most),
                        {}});
    }
};

void add_array(std::vector<Parameter>& list, SatConfig& config) {
    Stce& c = config.stce;
    EngineParameters<Stce> array{list, c, stce_ranges()};
    array.add("array.rows", "", "rows of the array", "published: 32", &Stce::rows);
    array.add("array.cols", "", "columns of the array", "published: 32", &Stce::cols);
    list.push_back({"array.frequency_hz",
                    "Hz",
                    "clock of every engine",
                    "published: 200 MHz",
                    &c.clock_hz,
                    least_clock_hz,
                    most_clock_hz,
                    {}});
    array.add("array.adder_latency_cycles", "cycles", "latency of the FP32 adder", "ours: 4",
              &Stce::adder_latency);
    array.add("array.max_group", "values", "largest M (and dense group) that a latch holds", "ours: 16",
              &Stce::max_group);
    array.add("array.max_interleave", "", "accumulators in a set: outputs that an element serves in turn",
              "ours: 16", &Stce::max_interleave);
    array.add("array.packed_values", "values", "packed entries that an element holds in a set", "ours: 64",
              &Stce::packed_values);
    array.add("array.packed_sets", "", "2 loads the next pass's packed groups while one runs, 1 in between",
              "ours: 2", &Stce::packed_sets);
    array.add("array.latches", "", "group latches of an element", "ours: 2", &Stce::latches);
    array.add("array.row_link_values", "values/cycle", "width of a row's link", "ours: 1",
              &Stce::row_link_values);
    array.add("array.column_link_values", "entries/cycle", "width of a column's link", "ours: 1",
              &Stce::column_link_values);
    array.add("array.accumulator_sets", "",
              "2 drains an output-stationary tile while the next computes, 1 in between", "ours: 2",
              &Stce::accumulator_sets);
}

void add_engines(std::vector<Parameter>& list, SatConfig& c) {
    EngineParameters<Sore> sore{list, c.sore, sore_ranges()};
    sore.add("sore.groups_per_cycle", "groups/cycle", "groups of M values reduced to N", "ours: 8",
             &Sore::groups_per_cycle);
    sore.add("sore.latency_cycles", "cycles", "from a group's entry to its packed form", "ours: 4",
             &Sore::latency_cycles);
    EngineParameters<Wuve> wuve{list, c.wuve, wuve_ranges()};
    wuve.add("wuve.lanes", "", "FP32 multiply-add lanes of the vector engine", "ours", &Wuve::lanes);
    wuve.add("wuve.latency_cycles", "cycles", "least time from an element's turn in a lane to its result",
             "ours: 8", &Wuve::latency_cycles);
    list.push_back({"buffers.input_bytes",
                    "bytes",
                    "streamed operand, both halves",
                    "ours: 4 MiB (a VU9P has 43 MiB of RAM blocks)",
                    &c.input_buffer_bytes,
                    1,
                    4096 * mebi,
                    {}});
    list.push_back({"buffers.weight_bytes",
                    "bytes",
                    "indexed operand, both halves",
                    "ours: 2 MiB",
                    &c.weight_buffer_bytes,
                    1,
                    4096 * mebi,
                    {}});
    list.push_back({"buffers.output_bytes",
                    "bytes",
                    "FP32 partial sums, both halves",
                    "ours: 8 MiB",
                    &c.output_buffer_bytes,
                    1,
                    4096 * mebi,
                    {}});
    list.push_back({"memory.peak_bytes_per_second",
                    "bytes/s",
                    "all channels of DRAM together",
                    "published: VCU1525, 4 x 64-bit DDR4-2400",
                    &c.memory_peak_bytes_per_second,
                    1e6,
                    1e14,
                    {}});
    list.push_back({"memory.efficiency",
                    "",
                    "share of the peak that long bursts reach (refresh, turn-around, row misses)",
                    "ours: 0.8",
                    &c.memory_efficiency,
                    0.01,
                    1,
                    {}});
}

void add_features(std::vector<Parameter>& list, SatConfig& c) {
    list.push_back({"features.double_buffering",
                    "",
                    "transfers overlap computation",
                    "ours: on",
                    &c.double_buffering,
                    0,
                    1,
                    {}});
    list.push_back({"features.interleaving",
                    "",
                    "an element serves several outputs in turn",
                    "published: on",
                    &c.interleaving,
                    0,
                    1,
                    {}});
    list.push_back({"features.pregeneration",
                    "",
                    "the weight update writes the packed weights of the next FF and BP",
                    "published: on",
                    &c.pregeneration,
                    0,
                    1,
                    {}});
    list.push_back({"features.dataflow",
                    "",
                    "ws, os, or the better one for each product",
                    "published: the better one",
                    &c.dataflow,
                    0,
                    0,
                    {"ws", "os", "auto"}});
    list.push_back(
        {"energy.table", "", "fpga, asic, or a file", "ours: fpga", &c.energy, 0, 0, {"fpga", "asic"}, true});
}

void add_vector(std::vector<Parameter>& list, SatConfig& c) {
    for (VectorCost& cost : c.vector) {
        const std::string key = fmt::format("vector.{}.", cost.name);
        const auto add = [&](const char* name, const char* unit, const char* about, int* field, double least,
                             double most) {
            list.push_back({key + name, unit, about, "ours: docs/sat.md", field, least, most, {}});
        };
        add("passes", "", "sweeps over the tensor that cannot be merged", &cost.passes, 1, 64);
        add("lane_ops", "multiply-adds/element", "work of the lanes", &cost.lane_ops, 0, 4096);
        add("read_bytes", "bytes/element", "read from DRAM", &cost.read_bytes, 0, 4096);
        add("write_bytes", "bytes/element", "written to DRAM", &cost.write_bytes, 0, 4096);
    }
}

}  // namespace

const VectorCost& SatConfig::cost(std::string_view kind) const {
    std::vector<std::string> names;
    for (const VectorCost& row : vector) {
        if (row.name == kind) return row;
        names.emplace_back(row.name);
    }
    refuse("unknown vector operation '{}'{}", kind, suggestion(kind, names));
}

std::vector<Parameter> parameters(SatConfig& config) {
    std::vector<Parameter> list;
    add_array(list, config);
    add_engines(list, config);
    add_features(list, config);
    add_vector(list, config);
    return list;
}

SatConfig load_sat_config(const std::string& file, std::span<const std::string> settings,
                          std::string_view where) {
    SatConfig config;
    configure(parameters(config), file, settings, where);
    check(config.stce);
    return config;
}

}  // namespace enmesh::accel::sat
