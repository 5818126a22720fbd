#include <algorithm>
#include <nlohmann/json.hpp>

#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

enum Track { stce = 1, sore = 2, wuve = 3, dram = 4 };

/// One complete event ("X") of the Trace Event Format; times in microseconds.
std::string event(const std::string& name, Track track, double start, double duration,
                  const nlohmann::ordered_json& args) {
    const nlohmann::ordered_json json = {
        {"name", name}, {"ph", "X"},       {"pid", 1},    {"tid", static_cast<int>(track)},
        {"ts", start},  {"dur", duration}, {"args", args}};
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string track_name(Track track, const char* name) {
    const nlohmann::ordered_json json = {{"name", "thread_name"},
                                         {"ph", "M"},
                                         {"pid", 1},
                                         {"tid", static_cast<int>(track)},
                                         {"args", {{"name", name}}}};
    return json.dump();
}

double bytes_of(const Activity& a) { return a.dram_read_bytes + a.dram_write_bytes; }

}  // namespace

std::string to_trace(const Report& report) {
    const double microseconds = 1e6 / report.clock_hz;
    std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + track_name(stce, "STCE") + ",\n" +
                       track_name(sore, "SORE") + ",\n" + track_name(wuve, "WUVE") + ",\n" +
                       track_name(dram, "DRAM");
    const auto add = [&](const std::string& line) { text += ",\n" + line; };
    for (const ProductResult& r : report.products) {
        const std::string name = fmt::format("{} {}", r.product.layer, to_string(r.product.stage));
        const double start = static_cast<double>(r.start_cycle) * microseconds,
                     span = static_cast<double>(r.cycles) * microseconds;
        // How long an engine is busy in all; its work is spread over the product.
        const auto within = [&](double cycles) { return std::min(span, cycles * microseconds); };
        const nlohmann::ordered_json args = {
            {"m", r.product.m},
            {"n", r.product.n},
            {"k", r.product.k},
            {"pattern", r.product.is_sparse() ? to_string(r.product.pattern) : "dense"},
            {"dataflow", r.dataflow},
            {"utilization", r.utilization},
            {"bandwidth_stall_cycles", r.stalls.bandwidth},
            {"packing_stall_cycles", r.stalls.packing}};
        add(event(name, stce, start, span, args));
        if (bytes_of(r.activity) > 0)
            add(event(name, dram, start, within(bytes_of(r.activity) / report.dram_bytes_per_cycle),
                      {{"read", r.activity.dram_read_bytes}, {"write", r.activity.dram_write_bytes}}));
        if (r.activity.packed_values > 0) {
            const double groups = r.activity.packed_values / r.product.pattern.m;
            add(event(name, sore, start, within(groups / report.pack_groups_per_cycle),
                      {{"values", r.activity.packed_values}}));
        }
    }
    for (const VectorResult& r : report.vector_work) {
        const std::string name = fmt::format("{} {} {}", r.layer, r.kind, to_string(r.stage));
        const double start = static_cast<double>(r.start_cycle) * microseconds;
        add(event(name, wuve, start, static_cast<double>(r.cycles) * microseconds,
                  {{"elements", r.elements}, {"lane_cycles", r.lane_cycles}}));
        if (r.memory_cycles > 0) {
            add(event(name, dram, start, static_cast<double>(r.memory_cycles) * microseconds,
                      {{"read", r.activity.dram_read_bytes}, {"write", r.activity.dram_write_bytes}}));
        }
        if (r.activity.packed_values > 0) {
            add(event(name, sore, start, static_cast<double>(r.lane_cycles) * microseconds,
                      {{"values", r.activity.packed_values}}));
        }
    }
    return text + "\n]}\n";
}

}  // namespace enmesh::accel
