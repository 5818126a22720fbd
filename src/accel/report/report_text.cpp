#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "accel/report/figure_json.hpp"
#include "enmesh/accel/report/report.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

using Json = nlohmann::ordered_json;

template <typename Figures>
void put_fields(Json& json, const Figures& figures) {
    for (const auto& [name, member] : Figures::fields()) json[name] = figures.*member;
}

Json to_json_object(const Stalls& stalls) {
    Json json = Json::object();
    for (const auto& [cause, cycles] : stalls.entries()) json[std::string(cause.name)] = cycles;
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
    put_figures(json, result.figures);
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
    put_fields(json, report.energy);
    return json;
}

Json exact_object(const ExactRun& exact) {
    return {{"products", exact.products},        {"tiles", exact.tiles},
            {"whole_products", exact.whole},     {"element_cycles", exact.element_cycles},
            {"outputs_compared", exact.outputs}, {"host_seconds", exact.host_seconds}};
}

Json engines_object(const Report& report) {
    Json list = Json::array();
    for (const EngineShare& engine : report.engines)
        list.push_back({{"name", engine.name},
                        {"elements", engine.elements},
                        {"frequency_hz", engine.clock_hz},
                        {"busy_cycles", engine.busy_cycles}});
    return list;
}

struct StageTotals {
    int64_t cycles = 0, vector_cycles = 0;
    std::map<double, int64_t> multiply_adds;  // by the elements of the engine

    double ideal() const {
        double cycles_alone = 0;
        for (const auto& [elements, count] : multiply_adds)
            cycles_alone += static_cast<double>(count) / elements;
        return cycles_alone;
    }
};

std::array<StageTotals, 4> stage_totals(const Report& report) {
    std::array<StageTotals, 4> totals;
    for (const ProductResult& result : report.products) {
        StageTotals& stage = totals[static_cast<size_t>(result.product.stage)];
        stage.cycles += result.cycles;
        const double elements = result.elements > 0 ? result.elements : static_cast<double>(report.elements);
        stage.multiply_adds[elements] += result.multiply_adds;
    }
    for (const VectorResult& result : report.vector_work)
        totals[static_cast<size_t>(result.stage)].vector_cycles += result.cycles;
    return totals;
}

/// Every cause that a product of the report names, in the order of their first appearance.
std::vector<StallCause> causes_of(const Report& report) {
    Stalls all;
    for (const ProductResult& result : report.products)
        for (const Stalls::Entry& entry : result.stalls.entries()) all.add(entry.cause, 0);
    std::vector<StallCause> causes;
    for (const Stalls::Entry& entry : all.entries()) causes.push_back(entry.cause);
    return causes;
}

/// The machine's own figures that tables show, likewise.
std::vector<std::string_view> columns_of(const Report& report) {
    std::vector<std::string_view> names;
    for (const ProductResult& result : report.products)
        for (const Figure& figure : result.figures)
            if (figure.column && std::find(names.begin(), names.end(), figure.name) == names.end())
                names.push_back(figure.name);
    return names;
}

std::string text_of(const ProductResult& result, std::string_view column) {
    for (const Figure& figure : result.figures)
        if (figure.name == column)
            return std::visit([](const auto& value) { return fmt::format("{}", value); }, figure.value);
    return {};
}

std::string shortened(const std::string& text, size_t width) {
    return text.size() <= width ? text : "…" + text.substr(text.size() - (width - 1));
}

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

void add_product_rows(std::string& text, const Report& report) {
    const std::vector<StallCause> causes = causes_of(report);
    const std::vector<std::string_view> columns = columns_of(report);
    const auto column_width = [](std::string_view name) { return std::max<size_t>(12, name.size()); };
    text += fmt::format("{:<24} {:<5} {:>9} {:>7} {:>9} {:>6} {:>7} {:<5} {:>14} {:>6}", "layer", "stage",
                        "m", "n", "k", "batch", "pattern", "flow", "cycles", "util%");
    for (const StallCause& cause : causes) text += fmt::format(" {:>6}", fmt::format("{}%", cause.label));
    for (const std::string_view name : columns) text += fmt::format(" {:>{}}", name, column_width(name));
    text += "\n";
    for (const ProductResult& r : report.products) {
        const double cycles = static_cast<double>(r.cycles);
        text += fmt::format("{:<24} {:<5} {:>9} {:>7} {:>9} {:>6} {:>7} {:<5} {:>14} {:>6.1f}",
                            shortened(r.product.layer, 24), to_string(r.product.stage), r.product.m,
                            r.product.n, r.product.k, r.product.batch, pattern_text(r.product), r.dataflow,
                            r.cycles, 100 * r.utilization);
        for (const StallCause& cause : causes)
            text += fmt::format(" {:>6.1f}", percent(r.stalls.of(cause.name), cycles));
        for (const std::string_view name : columns)
            text += fmt::format(" {:>{}}", text_of(r, name), column_width(name));
        text += "\n";
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
        text +=
            fmt::format("{:<8} {:>16} {:>16} {:>8.1f} {:>8.1f}\n", to_string(static_cast<Stage>(i)), t.cycles,
                        t.vector_cycles, percent(static_cast<double>(t.cycles + t.vector_cycles), all),
                        percent(t.ideal(), static_cast<double>(t.cycles)));
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
    const std::vector<StallCause> causes = causes_of(report);
    const std::vector<std::string_view> columns = columns_of(report);
    std::string text =
        "kind,layer,stage,m,n,k,batch,pattern,dataflow,elements,cycles,multiply_adds,utilization,";
    for (const StallCause& cause : causes) text += fmt::format("{},", cause.name);
    text += "dram_read,dram_write";
    for (const std::string_view name : columns) text += fmt::format(",{}", name);
    text += "\n";
    const auto quoted = [](const std::string& name) {
        if (name.find_first_of(",\"\n") == std::string::npos) return name;
        std::string result = "\"";
        for (const char c : name) result += c == '"' ? "\"\"" : std::string(1, c);
        return result + "\"";
    };
    for (const ProductResult& r : report.products) {
        const Product& p = r.product;
        text += fmt::format("product,{},{},{},{},{},{},{},{},,{},{},{:.6f},", quoted(p.layer),
                            to_string(p.stage), p.m, p.n, p.k, p.batch, pattern_text(p), r.dataflow, r.cycles,
                            r.multiply_adds, r.utilization);
        for (const StallCause& cause : causes) text += fmt::format("{:.0f},", r.stalls.of(cause.name));
        text += fmt::format("{:.0f},{:.0f}", r.activity.dram_read_bytes, r.activity.dram_write_bytes);
        for (const std::string_view name : columns) text += "," + quoted(text_of(r, name));
        text += "\n";
    }
    for (const VectorResult& r : report.vector_work) {
        text += fmt::format("{},{},{},,,,,,,{},{},,,{}{:.0f},{:.0f}{}\n", r.kind, quoted(r.layer),
                            to_string(r.stage), r.elements, r.cycles, std::string(causes.size(), ','),
                            r.activity.dram_read_bytes, r.activity.dram_write_bytes,
                            std::string(columns.size(), ','));
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
    if (!report.engines.empty()) {
        json["engines"] = engines_object(report);
        json["turns"] = report.side_by_side ? "side by side" : "in turn";
    }
    if (!report.notes.empty()) json["notes"] = report.notes;
    if (report.exact.has_value()) json["exact"] = exact_object(*report.exact);
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace enmesh::accel
