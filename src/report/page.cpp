#include "enmesh/report/page.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/report/plot.hpp"

namespace enmesh::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double number(const Json& json, const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_number() ? found->get<double>() : nan;
}

std::string text(const Json& json, const char* key) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) return "–";
    if (found->is_string()) return escaped(found->get<std::string>());
    if (found->is_number_float()) return fmt::format("{:.5g}", found->get<double>());
    return escaped(found->dump());
}

std::string figure_text(double value) { return std::isfinite(value) ? fmt::format("{:.5g}", value) : "–"; }

using Runs = std::vector<const Json*>;

Runs runs_of(const Json& document, const std::string& kind) {
    Runs runs;
    for (const Json& run : document.at("runs"))
        if (run.at("kind") == kind) runs.push_back(&run);
    return runs;
}

std::string name_of(const Json& run) { return run.at("name").get<std::string>(); }

/// The cells are HTML already.
std::string table(const std::vector<std::string>& heads, const std::vector<std::vector<std::string>>& rows) {
    std::string html = "<div class=\"wide\" tabindex=\"0\"><table><thead><tr>";
    for (const std::string& head : heads) html += "<th scope=\"col\">" + head + "</th>";
    html += "</tr></thead><tbody>\n";
    for (const auto& row : rows) {
        html += "<tr>";
        for (const std::string& cell : row) html += "<td>" + cell + "</td>";
        html += "</tr>\n";
    }
    return html + "</tbody></table></div>\n";
}

std::string curve_plot(const Runs& runs, const char* title, const char* key, const char* label, bool log) {
    std::vector<Curve> curves;
    for (const Json* run : runs) {
        Curve curve{.name = name_of(*run), .x = {}, .y = {}};
        for (const Json& epoch : run->at("epochs")) {
            curve.x.push_back(number(epoch, "epoch"));
            curve.y.push_back(number(epoch, key));
        }
        curves.push_back(std::move(curve));
    }
    return line_plot(title, {.label = "epoch"}, {.label = label, .log = log}, curves);
}

double sum_of_stages(const Json& summary, const char* key) {
    double sum = 0;
    for (const char* stage : {"FF", "BP", "WG"}) sum += number(summary.at(key), stage);
    return sum;
}

std::string train_table(const Runs& runs) {
    std::vector<std::vector<std::string>> rows;
    for (const Json* run : runs) {
        const Json& summary = run->at("summary");
        rows.push_back({escaped(name_of(*run)), text(summary.at("model"), "model"), text(summary, "method"),
                        text(summary, "pattern"), text(summary, "epochs"), text(summary, "best_accuracy"),
                        text(summary, "test_accuracy"), text(summary, "parameters"),
                        figure_text(sum_of_stages(summary, "multiply_adds")),
                        figure_text(sum_of_stages(summary, "sparse_multiply_adds")), text(summary, "seconds"),
                        text(summary, "images_per_second")});
    }
    return table({"run", "model", "method", "pattern", "epochs", "best accuracy", "last accuracy",
                  "parameters", "multiply-adds a step, dense", "executed", "seconds", "images/s, last epoch"},
                 rows);
}

std::string accuracy_against_work(const Runs& runs) {
    std::vector<Mark> marks;
    for (const Json* run : runs) {
        const Json& summary = run->at("summary");
        const double work = sum_of_stages(summary, "sparse_multiply_adds"),
                     accuracy = number(summary, "best_accuracy");
        marks.push_back({.x = work,
                         .y = accuracy,
                         .text = fmt::format("{}: {:.4g} multiply-adds a step, best accuracy {:.4f}",
                                             name_of(*run), work, accuracy),
                         .strong = true});
    }
    return scatter_plot("Best test accuracy against multiply-adds",
                        {.label = "multiply-adds a step, executed"}, {.label = "best test accuracy"}, marks);
}

std::string stage_work(const Runs& runs) {
    std::vector<Bar> bars;
    for (const Json* run : runs) {
        for (const char* stage : {"FF", "BP", "WG"}) {
            const Json& summary = run->at("summary");
            const double all = number(summary.at("multiply_adds"), stage),
                         executed = number(summary.at("sparse_multiply_adds"), stage);
            bars.push_back({name_of(*run) + " " + stage, {executed, all - executed}});
        }
    }
    return bar_plot("Multiply-adds a step by stage", "multiply-adds", {"executed", "left out"}, bars);
}

std::string dense_tables(const Runs& runs) {
    std::string html;
    for (const Json* run : runs) {
        std::vector<std::vector<std::string>> rows;
        for (const Json& layer : run->at("summary").at("left_dense"))
            rows.push_back({text(layer, "name"), text(layer, "stage"), text(layer, "reason")});
        if (rows.empty()) continue;
        html += "<h3>" + escaped(name_of(*run)) + ": what stayed dense</h3>\n" +
                table({"layer", "stage", "why"}, rows);
    }
    return html;
}

std::string train_section(const Runs& runs) {
    if (runs.empty()) return "";
    std::string html = "<section><h2>Training</h2>\n" + train_table(runs) + "<div class=\"plots\">\n";
    html += curve_plot(runs, "Test accuracy", "test_accuracy", "test accuracy", false);
    html += curve_plot(runs, "Training loss", "train_loss", "training loss", true);
    html += curve_plot(runs, "Test loss", "test_loss", "test loss", true);
    html += curve_plot(runs, "Learning rate", "learning_rate", "learning rate", false);
    html += accuracy_against_work(runs) + stage_work(runs) + "</div>\n";
    return html + dense_tables(runs) + "</section>\n";
}

std::string simulate_table(const Runs& runs) {
    std::vector<std::vector<std::string>> rows;
    for (const Json* run : runs) {
        const Json& report = run->at("report");
        rows.push_back({escaped(name_of(*run)), text(report, "accelerator"), text(report, "network"),
                        text(report, "method"), text(report, "images"), text(report, "elements"),
                        text(report, "total_cycles"), text(report, "seconds"), text(report, "joules"),
                        text(report, "gflops")});
    }
    return table({"run", "machine", "network", "method", "images", "elements", "cycles", "seconds", "joules",
                  "GFLOP/s"},
                 rows);
}

std::string cycles_by_layer(const Json& run) {
    std::vector<Bar> bars;
    std::map<std::string, size_t> rows;
    for (const Json& product : run.at("report").at("products")) {
        const std::string layer = product.at("layer");
        const auto [row, added] = rows.emplace(layer, bars.size());
        if (added) bars.push_back({layer, {0, 0, 0}});
        const std::string stage = product.at("stage");
        const size_t part = stage == "FF" ? 0 : stage == "BP" ? 1 : 2;
        bars[row->second].parts[part] += number(product, "cycles");
    }
    return bar_plot(name_of(run) + ": cycles of the products by layer", "cycles (simulated)",
                    {"FF", "BP", "WG"}, bars);
}

std::string stalls_by_layer(const Json& run) {
    std::vector<std::string> causes;
    std::vector<Bar> bars;
    for (const Json& product : run.at("report").at("products")) {
        Bar bar{product.at("layer").get<std::string>() + " " + product.at("stage").get<std::string>(), {}};
        for (const auto& [cause, cycles] : product.at("stalls").items()) {
            size_t part = 0;
            while (part < causes.size() && causes[part] != cause) ++part;
            if (part == causes.size()) causes.push_back(cause);
            bar.parts.resize(std::max(bar.parts.size(), part + 1));
            bar.parts[part] = cycles.get<double>();
        }
        bars.push_back(std::move(bar));
    }
    return bar_plot(name_of(run) + ": cycles without useful work, by cause", "cycles (simulated)", causes,
                    bars);
}

/// Useful multiply-adds a cycle against multiply-adds a byte of DRAM.
std::string roofline(const Json& run) {
    std::vector<Mark> marks;
    for (const Json& product : run.at("report").at("products")) {
        const Json& bytes = product.at("bytes");
        const double moved = number(bytes, "dram_read") + number(bytes, "dram_write");
        const double work = number(product, "multiply_adds"), cycles = number(product, "cycles");
        if (!(moved > 0) || !(cycles > 0)) continue;
        marks.push_back(
            {.x = work / moved,
             .y = work / cycles,
             .text = fmt::format("{} {}: {:.4g} multiply-adds a byte, {:.4g} a cycle",
                                 product.at("layer").get<std::string>(),
                                 product.at("stage").get<std::string>(), work / moved, work / cycles)});
    }
    if (marks.empty()) return "";
    return scatter_plot(name_of(run) + ": work against memory traffic",
                        {.label = "multiply-adds a byte of DRAM", .log = true},
                        {.label = "multiply-adds a cycle", .log = true}, marks);
}

std::string energy_bars(const Runs& runs) {
    std::vector<Bar> bars;
    std::vector<std::string> names;
    for (const Json* run : runs) {
        const auto energy = run->at("report").find("energy");
        if (energy == run->at("report").end() || !energy->is_object()) continue;
        Bar bar{name_of(*run), {}};
        for (const auto& [name, joules] : energy->items()) {
            if (!joules.is_number()) continue;
            size_t part = 0;
            while (part < names.size() && names[part] != name) ++part;
            if (part == names.size()) names.push_back(name);
            bar.parts.resize(std::max(bar.parts.size(), part + 1));
            bar.parts[part] = joules.get<double>();
        }
        bars.push_back(std::move(bar));
    }
    return bars.empty() ? "" : bar_plot("Energy of a step", "joules (modelled)", names, bars);
}

std::string simulate_section(const Runs& runs) {
    if (runs.empty()) return "";
    std::string html = "<section><h2>Simulation</h2>\n" + simulate_table(runs) + "<div class=\"plots\">\n" +
                       energy_bars(runs);
    for (const Json* run : runs) html += cycles_by_layer(*run) + stalls_by_layer(*run) + roofline(*run);
    return html + "</div></section>\n";
}

std::string front(const Json& run) {
    const Json& points = run.at("points");
    bool energy = true;
    for (const Json& point : points)
        energy = energy && (point.contains("error") || point.at("joules").is_number());
    const char* const height = energy ? "joules" : "elements";
    size_t failed = 0;
    std::vector<Mark> marks;
    std::vector<std::vector<std::string>> rows;
    for (const Json& point : points) {
        if (point.contains("error")) {
            ++failed;
            continue;
        }
        const bool best = point.at("pareto").get<bool>();
        const std::string label = point.at("point");
        marks.push_back(
            {.x = number(point, "seconds"),
             .y = number(point, height),
             .text = fmt::format("{}: {:.5g} s, {} J, {} elements", label, number(point, "seconds"),
                                 figure_text(number(point, "joules")), point.at("elements").dump()),
             .strong = best});
        if (best)
            rows.push_back({escaped(label), text(point, "seconds"), text(point, "joules"),
                            text(point, "elements"), text(point, "total_cycles")});
    }
    return "<div class=\"plots\">" +
           scatter_plot(name_of(run) + ": points, the front in blue",
                        {.label = "seconds a step (simulated)", .log = true},
                        {.label = energy ? "joules a step (modelled)" : "elements", .log = true}, marks) +
           "</div>\n<h3>Pareto front</h3>\n" +
           table({"point", "seconds", "joules", "elements", "cycles"}, rows) +
           (failed > 0 ? fmt::format("<p>{} of {} points cannot run.</p>\n", failed, points.size()) : "");
}

std::string explore_section(const Runs& runs) {
    if (runs.empty()) return "";
    std::string html = "<section><h2>Exploration</h2>\n";
    for (const Json* run : runs) html += front(*run);
    return html + "</section>\n";
}

constexpr std::string_view page_style = R"(:root{color-scheme:light dark}
body{font:16px/1.45 sans-serif;margin:0 auto;padding:1rem;max-width:84rem;background:#fff;color:#222}
h1{font-size:1.5rem}h2{font-size:1.25rem;border-bottom:1px solid #999}h3{font-size:1rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.5rem;align-items:start}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
th,td{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #9996;vertical-align:top}
#said{position:sticky;bottom:0;min-height:1.5em;padding:.25rem;background:#eee;font-size:.85rem}
#said:empty{display:none}
@media screen and (prefers-color-scheme:dark){body{background:#181818;color:#eee}#said{background:#333}}
@media print{#said{display:none}.wide{overflow:visible}table{font-size:.6rem}.plot,tr{break-inside:avoid}}
)";

/// The text of the point under the pointer, or with the keyboard's focus, in a line of its own.
constexpr std::string_view page_script = R"(const said = document.getElementById('said');
for (const event of ['focusin', 'mouseover']) document.addEventListener(event, (e) => {
  const mark = e.target.closest('.mark, .bar');
  const title = mark && mark.querySelector('title');
  if (title) said.textContent = title.textContent;
});
)";

/// JSON that can stand in a script element: "</script>" cannot occur in it.
std::string embedded(const Json& document) {
    std::string result;
    for (const char c : document.dump(-1, ' ', true)) {
        if (c == '<')
            result += "\\u003c";
        else
            result += c;
    }
    return result;
}

}  // namespace

std::string html_page(const std::string& document) {
    try {
        const Json json = Json::parse(document);
        std::string names;
        for (const Json& run : json.at("runs")) names += (names.empty() ? "" : ", ") + escaped(name_of(run));
        const std::string body = train_section(runs_of(json, "train")) +
                                 simulate_section(runs_of(json, "simulate")) +
                                 explore_section(runs_of(json, "explore"));
        return fmt::format(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
            "<link rel=\"icon\" href=\"data:,\"><title>enmesh: "
            "{0}</title>\n<style>{1}{2}</style></head>\n<body>"
            "<h1>enmesh report: {0}</h1>\n{3}<p id=\"said\" aria-live=\"polite\"></p>\n"
            "<script type=\"application/json\" id=\"enmesh-data\">{4}</script>\n<script>{5}</script>\n"
            "</body></html>\n",
            names, page_style, plot_style(), body, embedded(json), page_script);
    } catch (const Json::exception&) {
        refuse("the report's data are no runs of enmesh: a key is missing or has a value of another kind");
    }
}

}  // namespace enmesh::report
