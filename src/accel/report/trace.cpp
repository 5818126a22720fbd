#include <algorithm>
#include <nlohmann/json.hpp>

#include "accel/report/figure_json.hpp"
#include "enmesh/accel/report/report.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

using Json = nlohmann::ordered_json;

/// One complete event ("X") of the Trace Event Format; times in microseconds. Tracks count from 1.
std::string event(const std::string& name, size_t track, double start, double duration, const Json& args) {
    const Json json = {{"name", name}, {"ph", "X"},       {"pid", 1},    {"tid", track + 1},
                       {"ts", start},  {"dur", duration}, {"args", args}};
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string track_name(size_t track, const std::string& name) {
    const Json json = {
        {"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", track + 1}, {"args", {{"name", name}}}};
    return json.dump();
}

/// The events of a product or vector operation: `common` is said on its first track.
void add_events(std::string& text, const std::string& name, const auto& result, const Json& common,
                double microseconds) {
    const double start = static_cast<double>(result.start_cycle) * microseconds,
                 span = static_cast<double>(result.cycles) * microseconds;
    for (size_t i = 0; i < result.busy.size(); ++i) {
        const Busy& busy = result.busy[i];
        Json args = i == 0 ? common : Json::object();
        put_figures(args, busy.figures);
        // How long it is busy in all; its work is spread over the product.
        text += ",\n" + event(name, busy.track, start, std::min(span, busy.cycles * microseconds), args);
    }
}

}  // namespace

std::string to_trace(const Report& report) {
    const double microseconds = 1e6 / report.clock_hz;
    std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    for (size_t i = 0; i < report.tracks.size(); ++i)
        text += (i == 0 ? "" : ",\n") + track_name(i, report.tracks[i]);
    for (const ProductResult& r : report.products) {
        const Json common = {{"m", r.product.m},       {"n", r.product.n},
                             {"k", r.product.k},       {"pattern", pattern_text(r.product)},
                             {"dataflow", r.dataflow}, {"utilization", r.utilization}};
        add_events(text, fmt::format("{} {}", r.product.layer, to_string(r.product.stage)), r, common,
                   microseconds);
    }
    for (const VectorResult& r : report.vector_work)
        add_events(text, fmt::format("{} {} {}", r.layer, r.kind, to_string(r.stage)), r,
                   {{"elements", r.elements}}, microseconds);
    return text + "\n]}\n";
}

}  // namespace enmesh::accel
