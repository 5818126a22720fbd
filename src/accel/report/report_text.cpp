#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

using Json = nlohmann::ordered_json;

std::string pattern_text(const Product& product) {
    return product.is_sparse() ? to_string(product.pattern) : "dense";
}

template <typename Figures>
void put_figures(Json& json, const Figures& figures) {
    for (const auto& [name, member] : Figures::fields()) json[name] = figures.*member;
}

Json to_json_object(const Stalls& stalls) {
    Json json = Json::object();
    put_figures(json, stalls);
    return json;
}

Json bytes_object(const Activity& activity) {
    return {{"dram_read", activity.dram_read_bytes},
            {"dram_write", activity.dram_write_bytes},
            {"buffer_read", activity.buffer_read_bytes},
            {"buffer_write", activity.buffer_write_bytes}};
}

Json product_object(const ProductResult& result) {
    const Product& p = result.product;
    Json json = {{"layer", p.layer},
                 {"stage", to_string(p.stage)},
                 {"m", p.m},
                 {"n", p.n},
                 {"k", p.k},
                 {"batch", p.batch},
                 {"pattern", pattern_text(p)},
                 {"dataflow", result.dataflow},
                 {"start_cycle", result.start_cycle},
                 {"cycles", result.cycles},
                 {"multiply_adds", result.multiply_adds},
                 {"utilization", result.utilization},
                 {"stalls", to_json_object(result.stalls)},
                 {"bytes", bytes_object(result.activity)}};
    const Operand operand = p.is_sparse() ? p.sparse : result.asked_of;
    if (operand != Operand::none) json["sparse_operand"] = operand == Operand::a ? "a" : "b";
    if (result.asked) json["asked_pattern"] = to_string(*result.asked);
    if (result.engine_cycles > 0) json["engine_cycles"] = result.engine_cycles;
    return json;
}

Json vector_object(const VectorResult& result) {
    return {{"kind", result.kind},
            {"layer", result.layer},
            {"stage", to_string(result.stage)},
            {"elements", result.elements},
            {"start_cycle", result.start_cycle},
            {"cycles", result.cycles},
            {"lane_cycles", result.lane_cycles},
            {"memory_cycles", result.memory_cycles},
            {"bytes", bytes_object(result.activity)}};
}

Json energy_object(const Report& report) {
    if (report.energy_table.empty()) return nullptr;
    Json json = {{"table", report.energy_table}};
    put_figures(json, report.energy);
    return json;
}

Json exact_object(const ExactRun& exact) {
    return {{"products", exact.products},        {"tiles", exact.tiles},
            {"whole_products", exact.whole},     {"element_cycles", exact.element_cycles},
            {"outputs_compared", exact.outputs}, {"host_seconds", exact.host_seconds}};
}

struct StageTotals {
    int64_t cycles = 0, multiply_adds = 0, vector_cycles = 0;
    Stalls stalls;
};

std::array<StageTotals, 4> stage_totals(const Report& report) {
    std::array<StageTotals, 4> totals;
    for (const ProductResult& result : report.products) {
        StageTotals& stage = totals[static_cast<size_t>(result.product.stage)];
        stage.cycles += result.cycles;
        stage.multiply_adds += result.multiply_adds;
        stage.stalls += result.stalls;
    }
    for (const VectorResult& result : report.vector_work)
        totals[static_cast<size_t>(result.stage)].vector_cycles += result.cycles;
    return totals;
}

std::string shortened(const std::string& text, size_t width) {
    return text.size() <= width ? text : "…" + text.substr(text.size() - (width - 1));
}

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

void add_product_rows(std::string& text, const Report& report) {
    text += fmt::format(
        "{:<24} {:<5} {:>9} {:>7} {:>9} {:>6} {:>7} {:<5} {:>14} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}\n",
        "layer", "stage", "m", "n", "k", "batch", "pattern", "flow", "cycles", "util%", "fill%", "tail%",
        "adder%", "link%", "bandw%", "pack%");
    for (const ProductResult& r : report.products) {
        const double cycles = static_cast<double>(r.cycles);
        text += fmt::format(
            "{:<24} {:<5} {:>9} {:>7} {:>9} {:>6} {:>7} {:<5} {:>14} {:>6.1f} {:>6.1f} {:>6.1f} {:>6.1f} "
            "{:>6.1f} {:>6.1f} {:>6.1f}\n",
            shortened(r.product.layer, 24), to_string(r.product.stage), r.product.m, r.product.n, r.product.k,
            r.product.batch, pattern_text(r.product), r.dataflow, r.cycles, 100 * r.utilization,
            percent(r.stalls.fill_drain, cycles), percent(r.stalls.tail, cycles),
            percent(r.stalls.adder_latency, cycles), percent(r.stalls.row_link, cycles),
            percent(r.stalls.bandwidth, cycles), percent(r.stalls.packing, cycles));
    }
}

void add_vector_rows(std::string& text, const Report& report) {
    std::map<std::pair<std::string, Stage>, std::pair<int64_t, int64_t>> groups;
    for (const VectorResult& r : report.vector_work) {
        auto& [elements, cycles] = groups[{r.kind, r.stage}];
        elements += r.elements;
        cycles += r.cycles;
    }
    if (groups.empty()) return;
    text += fmt::format("\n{:<24} {:<5} {:>16} {:>14} {:>6}\n", "vector work", "stage", "elements", "cycles",
                        "step%");
    for (const auto& [key, sums] : groups) {
        text += fmt::format(
            "{:<24} {:<5} {:>16} {:>14} {:>6.1f}\n", key.first, to_string(key.second), sums.first,
            sums.second, percent(static_cast<double>(sums.second), static_cast<double>(report.total_cycles)));
    }
}

void add_totals(std::string& text, const Report& report) {
    const auto totals = stage_totals(report);
    const double all = static_cast<double>(report.total_cycles);
    text += fmt::format("\n{:<8} {:>16} {:>16} {:>8} {:>8}\n", "stage", "product cycles", "vector cycles",
                        "step%", "util%");
    for (size_t i = 0; i < totals.size(); ++i) {
        const StageTotals& t = totals[i];
        if (t.cycles + t.vector_cycles == 0) continue;
        const double ideal = static_cast<double>(t.multiply_adds) / static_cast<double>(report.elements);
        text +=
            fmt::format("{:<8} {:>16} {:>16} {:>8.1f} {:>8.1f}\n", to_string(static_cast<Stage>(i)), t.cycles,
                        t.vector_cycles, percent(static_cast<double>(t.cycles + t.vector_cycles), all),
                        percent(ideal, static_cast<double>(t.cycles)));
    }
    text += fmt::format("\ntotal {} cycles, {:.6g} s at {:g} MHz (simulated); {:.5g} GFLOP/s useful",
                        report.total_cycles, report.seconds, report.clock_hz * 1e-6, report.gflops());
    if (!report.energy_table.empty()) {
        text += fmt::format("; {:.5g} J ({} table), {:.4g} GFLOP/s/W", report.energy.total(),
                            report.energy_table, report.gflops_per_watt());
    }
    text += "\n";
}

}  // namespace

std::string to_table(const Report& report) {
    std::string text;
    add_product_rows(text, report);
    add_vector_rows(text, report);
    add_totals(text, report);
    if (!report.notes.empty()) text += "\n";
    for (const std::string& note : report.notes) text += note + "\n";
    return text;
}

std::string to_csv(const Report& report) {
    std::string text =
        "kind,layer,stage,m,n,k,batch,pattern,dataflow,elements,cycles,multiply_adds,utilization,fill_drain,"
        "tail,adder_latency,"
        "row_link,bandwidth,packing,dram_read,dram_write\n";
    const auto quoted = [](const std::string& name) {
        if (name.find_first_of(",\"\n") == std::string::npos) return name;
        std::string result = "\"";
        for (const char c : name) result += c == '"' ? "\"\"" : std::string(1, c);
        return result + "\"";
    };
    for (const ProductResult& r : report.products) {
        const Product& p = r.product;
        const Stalls& s = r.stalls;
        text += fmt::format(
            "product,{},{},{},{},{},{},{},{},,{},{},{:.6f},{:.0f},{:.0f},{:.0f},{:.0f},{:.0f},{:.0f},{:.0f},{"
            ":.0f}\n",
            quoted(p.layer), to_string(p.stage), p.m, p.n, p.k, p.batch, pattern_text(p), r.dataflow,
            r.cycles, r.multiply_adds, r.utilization, s.fill_drain, s.tail, s.adder_latency, s.row_link,
            s.bandwidth, s.packing, r.activity.dram_read_bytes, r.activity.dram_write_bytes);
    }
    for (const VectorResult& r : report.vector_work) {
        text += fmt::format("{},{},{},,,,,,,{},{},,,,,,,,,{:.0f},{:.0f}\n", r.kind, quoted(r.layer),
                            to_string(r.stage), r.elements, r.cycles, r.activity.dram_read_bytes,
                            r.activity.dram_write_bytes);
    }
    return text;
}

std::string to_json(const Report& report) {
    Json json = {
        {"accelerator", report.accelerator},
        {"network", report.network},
        {"method", report.method},
        {"images", report.images},
        {"elements", report.elements},
        {"frequency_hz", report.clock_hz},
        {"simulated", true},
        {"total_cycles", report.total_cycles},
        {"seconds", report.seconds},
        {"joules", report.energy_table.empty() ? Json(nullptr) : Json(report.energy.total())},
        {"multiply_adds", report.multiply_adds()},
        {"gflops", report.gflops()},
        {"gflops_per_watt", report.energy_table.empty() ? Json(nullptr) : Json(report.gflops_per_watt())},
        {"energy", energy_object(report)}};
    Stalls stalls;
    for (const ProductResult& result : report.products) stalls += result.stalls;
    json["stalls"] = to_json_object(stalls);
    json["products"] = Json::array();
    for (const ProductResult& result : report.products) json["products"].push_back(product_object(result));
    json["vector_work"] = Json::array();
    for (const VectorResult& result : report.vector_work)
        json["vector_work"].push_back(vector_object(result));
    if (!report.notes.empty()) json["notes"] = report.notes;
    if (report.exact.has_value()) json["exact"] = exact_object(*report.exact);
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace enmesh::accel
