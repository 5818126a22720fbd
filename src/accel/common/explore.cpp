#include "enmesh/accel/common/explore.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel {
namespace {

/// a beats b: no worse in anything, better in something. Never where only one of them has an energy.
bool beats(const PointResult& a, const PointResult& b) {
    if (a.joules.has_value() != b.joules.has_value()) return false;
    const double joules_a = a.joules.value_or(0), joules_b = b.joules.value_or(0);
    const bool no_worse = a.seconds <= b.seconds && joules_a <= joules_b && a.elements <= b.elements;
    return no_worse && (a.seconds < b.seconds || joules_a < joules_b || a.elements < b.elements);
}

/// A logarithmic axis over the given values, with a margin.
struct LogAxis {
    double low = 0, high = 1, from = 0, to = 1;

    LogAxis(std::span<const double> values, double from_pixel, double to_pixel)
        : from(from_pixel), to(to_pixel) {
        const auto [least, most] = std::minmax_element(values.begin(), values.end());
        low = std::log10(*least);
        high = std::log10(*most);
        const double margin = std::max(0.05, 0.06 * (high - low));
        low -= margin;
        high += margin;
    }
    double at(double value) const { return from + (std::log10(value) - low) / (high - low) * (to - from); }

    /// 1, 2, 5 × powers of ten within the axis.
    std::vector<double> ticks() const {
        std::vector<double> result;
        for (int decade = static_cast<int>(std::floor(low)); decade <= static_cast<int>(std::ceil(high));
             ++decade) {
            for (const double step : {1.0, 2.0, 5.0}) {
                const double value = step * std::pow(10, decade);
                if (std::log10(value) >= low && std::log10(value) <= high) result.push_back(value);
            }
        }
        return result;
    }
};

std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text) {
        if (c == '<')
            result += "&lt;";
        else if (c == '&')
            result += "&amp;";
        else
            result += c;
    }
    return result;
}

/// A refusal's beginning.
std::string said(const std::string& where) { return where.empty() ? "" : where + " "; }

std::string axes(const LogAxis& x, const LogAxis& y) {
    std::string svg = fmt::format(
        "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" fill=\"none\" "
        "stroke=\"#888\"/>\n",
        x.from, y.to, x.to - x.from, y.from - y.to);
    for (const double tick : x.ticks()) {
        svg += fmt::format(
            "<path d=\"M{0:.1f} {1:.0f}V{2:.0f}\" stroke=\"#e4e4e4\"/><text x=\"{0:.1f}\" y=\"{3:.0f}\" "
            "text-anchor=\"middle\">{4:g}</text>\n",
            x.at(tick), y.from, y.to, y.from + 16, tick);
    }
    for (const double tick : y.ticks()) {
        svg += fmt::format(
            "<path d=\"M{1:.0f} {0:.1f}H{2:.0f}\" stroke=\"#e4e4e4\"/><text x=\"{3:.0f}\" y=\"{4:.1f}\" "
            "text-anchor=\"end\">{5:g}</text>\n",
            y.at(tick), x.from, x.to, x.from - 6, y.at(tick) + 4, tick);
    }
    return svg;
}

}  // namespace

Sweep parse_sweep(std::string_view text, const std::string& where) {
    const std::string begin = said(where);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0)
        refuse("{}{}: is not of the form key=value,value", begin, text);
    Sweep sweep{std::string(text.substr(0, equals)), {}};
    for (std::string_view rest = text.substr(equals + 1);;) {
        const size_t comma = rest.find(',');
        const std::string value(rest.substr(0, comma));
        if (value.empty()) refuse("{}{}: has an empty value", begin, text);
        if (std::find(sweep.values.begin(), sweep.values.end(), value) != sweep.values.end())
            refuse("{}{}: has {} twice", begin, text, value);
        sweep.values.push_back(value);
        if (comma == std::string_view::npos) return sweep;
        rest.remove_prefix(comma + 1);
    }
}

std::string DesignPoint::label() const {
    std::string text;
    for (const auto& [key, value] : settings)
        text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
    return text;
}

std::string DesignPoint::value(std::string_view key) const {
    for (const auto& [name, value] : settings) {
        if (name == key) return value;
    }
    return {};
}

namespace {

/// Whether "key" stands for key.rows and key.cols together.
bool is_grid(std::span<const Parameter> list, const std::string& key) {
    return !key.empty() && parameters_named(list, key + ".rows").size() == 1 &&
           parameters_named(list, key + ".cols").size() == 1;
}

/// The grids of a machine: "array", or "a.array" of an engine of a mixed one.
std::vector<std::string> grids_of(std::span<const Parameter> list) {
    std::vector<std::string> grids;
    for (const Parameter& parameter : list) {
        const std::string key = parameter.key.substr(0, parameter.key.rfind('.'));
        const bool known = std::find(grids.begin(), grids.end(), key) != grids.end();
        if (!known && is_grid(list, key)) grids.push_back(key);
    }
    return grids;
}

/// The parameters that a swept key sets; none for the pattern and where apply_setting()'s own refusal says
/// more.
std::vector<std::string> targets_of(std::span<const Parameter> list, const std::string& key,
                                    const std::string& where) {
    if (is_grid(list, key)) return {key + ".rows", key + ".cols"};
    if (key == "pattern") return {};
    const std::vector<const Parameter*> named = parameters_named(list, key);
    if (named.empty()) {
        std::vector<std::string> more = grids_of(list);
        std::string meant;
        for (const std::string& grid : more)
            if (grid.ends_with("." + key)) meant += (meant.empty() ? "" : " or ") + grid;
        if (!meant.empty()) refuse("{}{}: names no machine: write {}", said(where), key, meant);
        more.emplace_back("pattern");
        refuse_unknown_key(list, key, where, more);
    }
    return named.size() == 1 ? std::vector<std::string>{named.front()->key} : std::vector<std::string>{};
}

/// Two sweeps may not set the same parameter: the second would silently win.
void check_apart(std::span<const Parameter> list, const Sweep& one, const Sweep& other,
                 const std::string& where) {
    const std::string begin = said(where);
    if (one.key == other.key) refuse("{}{}: is given twice", begin, one.key);
    const std::vector<std::string> targets = targets_of(list, other.key, where);
    for (const std::string& target : targets_of(list, one.key, where))
        if (std::find(targets.begin(), targets.end(), target) != targets.end())
            refuse("{}{} and {}{} both set {}", begin, other.key, begin, one.key, target);
}

}  // namespace

std::vector<DesignPoint> design_points(const Accelerator& machine, std::span<const Sweep> sweeps,
                                       const std::string& where) {
    const std::unique_ptr<Accelerator> copy = machine.clone();
    const std::vector<Parameter> list = copy->parameters();
    std::vector<DesignPoint> points(1);
    for (size_t i = 0; i < sweeps.size(); ++i) {
        targets_of(list, sweeps[i].key, where);
        for (size_t j = 0; j < i; ++j) check_apart(list, sweeps[i], sweeps[j], where);
        std::vector<DesignPoint> next;
        for (const DesignPoint& point : points) {
            for (const std::string& value : sweeps[i].values) {
                next.push_back(point);
                next.back().settings.emplace_back(sweeps[i].key, value);
            }
        }
        if (next.size() > 1000000) refuse("the sweeps span more than a million design points");
        points = std::move(next);
    }
    return points;
}

std::unique_ptr<Accelerator> machine_of(const Accelerator& base, const DesignPoint& point,
                                        const std::string& where) {
    std::unique_ptr<Accelerator> machine = base.clone();
    const std::vector<Parameter> list = machine->parameters();
    for (const auto& [key, value] : point.settings) {
        if (key == "pattern") continue;
        if (!is_grid(list, key)) {
            apply_setting(list, key + "=" + value, where);
            continue;
        }
        const size_t x = value.find('x');
        if (x == std::string::npos) refuse("{}{}: {} is not of the form RxC", said(where), key, value);
        apply_setting(list, fmt::format("{}.rows={}", key, value.substr(0, x)), where);
        apply_setting(list, fmt::format("{}.cols={}", key, value.substr(x + 1)), where);
    }
    machine->check();
    return machine;
}

PointResult evaluate(const Accelerator& machine, const Workload& workload, const std::string& label,
                     PlanCache* cache) {
    PointResult result;
    result.label = label;
    result.elements = machine.elements();
    try {
        const Report report = machine.cost(workload, *machine.plan(workload, cache));
        result.seconds = report.seconds;
        if (!report.energy_table.empty()) result.joules = report.energy.total();
        result.total_cycles = report.total_cycles;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::request) throw;
        result.error = error.what();
    }
    return result;
}

void explore(std::span<const DesignPoint> points, const Accelerator& base,
             const std::function<const Workload&(const DesignPoint&)>& workload_of_point,
             const std::function<void(const PointResult&)>& done) {
    std::atomic<size_t> next{0};
    const std::unique_ptr<PlanCache> cache = base.plan_cache();
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
        for (size_t i = next++; i < points.size(); i = next++) {
            try {
                const std::unique_ptr<Accelerator> machine = machine_of(base, points[i]);
                const PointResult result =
                    evaluate(*machine, workload_of_point(points[i]), points[i].label(), cache.get());
                const std::lock_guard lock(mutex);
                done(result);
            } catch (...) {
                const std::lock_guard lock(mutex);
                failure = failure ? failure : std::current_exception();
                next = points.size();
            }
        }
    };
    std::vector<std::thread> team;
    const size_t size = std::min(points.size(), static_cast<size_t>(threads()));
    for (size_t i = 1; i < size; ++i) team.emplace_back(work);
    work();
    for (std::thread& thread : team) thread.join();
    if (failure) std::rethrow_exception(failure);
}

void mark_pareto(std::span<PointResult> results) {
    for (PointResult& point : results) {
        point.pareto = point.error.empty() &&
                       std::none_of(results.begin(), results.end(), [&](const PointResult& other) {
                           return other.error.empty() && beats(other, point);
                       });
    }
}

std::string to_svg(std::span<const PointResult> results, const std::string& title) {
    std::vector<double> seconds, heights;
    double most_elements = 1;
    bool energy = true;
    for (const PointResult& r : results) energy = energy && (!r.error.empty() || r.joules.has_value());
    const auto height = [&](const PointResult& r) {
        return energy ? *r.joules : static_cast<double>(r.elements);
    };
    for (const PointResult& r : results) {
        if (!r.error.empty()) continue;
        seconds.push_back(r.seconds);
        heights.push_back(height(r));
        most_elements = std::max(most_elements, static_cast<double>(r.elements));
    }
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"600\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n"
        "<rect width=\"960\" height=\"600\" fill=\"white\"/>\n";
    svg += fmt::format("<text x=\"480\" y=\"24\" text-anchor=\"middle\" font-size=\"15\">{}</text>\n",
                       escaped(title));
    if (seconds.empty())
        return svg + "<text x=\"480\" y=\"300\" text-anchor=\"middle\">no point can run</text>\n</svg>\n";
    const LogAxis x(seconds, 70, 930), y(heights, 540, 45);
    svg += axes(x, y);
    svg += fmt::format(
        "<text x=\"500\" y=\"585\" text-anchor=\"middle\">seconds a step (simulated)</text>\n"
        "<text x=\"18\" y=\"290\" text-anchor=\"middle\" transform=\"rotate(-90 18 290)\">{}</text>\n",
        energy ? "joules a step (modelled)" : "elements");
    for (const bool pareto : {false, true}) {
        for (const PointResult& r : results) {
            if (!r.error.empty() || r.pareto != pareto) continue;
            const double radius = 3 + 9 * std::sqrt(static_cast<double>(r.elements) / most_elements);
            svg += fmt::format(
                "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\" fill-opacity=\"0.65\" "
                "stroke=\"#335\"><title>{}: {:.4g} s, {}{} "
                "elements</title></circle>\n",
                x.at(r.seconds), y.at(height(r)), radius, pareto ? "#2a6fdb" : "#cccccc", escaped(r.label),
                r.seconds, energy ? fmt::format("{:.4g} J, ", *r.joules) : "", r.elements);
            if (pareto)
                svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"9\">{}</text>\n",
                                   x.at(r.seconds) + radius + 2, y.at(height(r)) + 3, escaped(r.label));
        }
    }
    return svg + "</svg>\n";
}

}  // namespace enmesh::accel
