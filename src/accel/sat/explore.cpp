#include "enmesh/accel/sat/explore.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel {
namespace {

/// a beats b: no worse in anything, better in something.
bool beats(const PointResult& a, const PointResult& b) {
    const bool no_worse = a.seconds <= b.seconds && a.joules <= b.joules && a.elements <= b.elements;
    return no_worse && (a.seconds < b.seconds || a.joules < b.joules || a.elements < b.elements);
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

Sweep parse_sweep(std::string_view text) {
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0)
        refuse("--sweep {}: is not of the form key=value,value", text);
    Sweep sweep{std::string(text.substr(0, equals)), {}};
    for (std::string_view rest = text.substr(equals + 1);;) {
        const size_t comma = rest.find(',');
        const std::string value(rest.substr(0, comma));
        if (value.empty()) refuse("--sweep {}: has an empty value", text);
        if (std::find(sweep.values.begin(), sweep.values.end(), value) != sweep.values.end())
            refuse("--sweep {}: has {} twice", text, value);
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

/// The parameters that a swept key sets; none for the pattern and where --sweep's own refusal will say more.
std::vector<std::string> targets_of(const std::string& key) {
    if (key == "array") return {"array.rows", "array.cols"};
    if (key == "pattern") return {};
    SatConfig config;
    std::vector<std::string> targets, keys;
    std::map<std::string, int> named;  // how many parameters a short name means
    const auto last_part = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
    for (const Parameter& parameter : parameters(config)) {
        if (parameter.key == key || last_part(parameter.key) == key) targets.push_back(parameter.key);
        keys.push_back(parameter.key);
        ++named[last_part(parameter.key)];
    }
    if (!targets.empty()) return targets.size() == 1 ? targets : std::vector<std::string>{};
    std::vector<std::string> names = {"array", "pattern"};
    for (const std::string& name : keys) {
        const std::string last = last_part(name);
        const bool vector_row = name.starts_with("vector.");
        if (key.find('.') != std::string::npos) {
            if (!vector_row || key.starts_with("vector.")) names.push_back(name);
        } else if (!vector_row && named[last] == 1) {
            names.push_back(last);
        }
    }
    refuse("--sweep {}: unknown key{}", key, suggestion(key, names));
}

/// Two sweeps may not set the same parameter: the second would silently win.
void check_apart(const Sweep& one, const Sweep& other) {
    if (one.key == other.key) refuse("--sweep {}: is given twice", one.key);
    const std::vector<std::string> targets = targets_of(other.key);
    for (const std::string& target : targets_of(one.key))
        if (std::find(targets.begin(), targets.end(), target) != targets.end())
            refuse("--sweep {} and --sweep {} both set {}", other.key, one.key, target);
}

}  // namespace

std::vector<DesignPoint> design_points(std::span<const Sweep> sweeps) {
    std::vector<DesignPoint> points(1);
    for (size_t i = 0; i < sweeps.size(); ++i) {
        targets_of(sweeps[i].key);
        for (size_t j = 0; j < i; ++j) check_apart(sweeps[i], sweeps[j]);
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

SatConfig config_of(const SatConfig& base, const DesignPoint& point) {
    SatConfig config = base;
    const std::vector<Parameter> list = parameters(config);
    for (const auto& [key, value] : point.settings) {
        if (key == "pattern") continue;
        if (key != "array") {
            apply_setting(list, key + "=" + value, "--sweep");
            continue;
        }
        const size_t x = value.find('x');
        if (x == std::string::npos) refuse("--sweep array: {} is not of the form RxC", value);
        apply_setting(list, "array.rows=" + value.substr(0, x), "--sweep");
        apply_setting(list, "array.cols=" + value.substr(x + 1), "--sweep");
    }
    check(config.stce);
    return config;
}

PointResult evaluate(const SatConfig& config, const Workload& workload, const std::string& label,
                     ScheduleCache& cache) {
    PointResult result;
    result.label = label;
    result.elements = config.elements();
    try {
        const Report report = simulate(config, workload, find_schedule(config, workload, cache));
        result.seconds = report.seconds;
        result.joules = report.energy.total();
        result.total_cycles = report.total_cycles;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::request) throw;
        result.error = error.what();
    }
    return result;
}

void explore(std::span<const DesignPoint> points, const SatConfig& base,
             const std::function<const Workload&(const DesignPoint&)>& workload_of_point,
             const std::function<void(const PointResult&)>& done) {
    std::atomic<size_t> next{0};
    ScheduleCache cache;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
        for (size_t i = next++; i < points.size(); i = next++) {
            try {
                const PointResult result = evaluate(config_of(base, points[i]), workload_of_point(points[i]),
                                                    points[i].label(), cache);
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
    std::vector<double> seconds, joules;
    double most_elements = 1;
    for (const PointResult& r : results) {
        if (!r.error.empty()) continue;
        seconds.push_back(r.seconds);
        joules.push_back(r.joules);
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
    const LogAxis x(seconds, 70, 930), y(joules, 540, 45);
    svg += axes(x, y);
    svg +=
        "<text x=\"500\" y=\"585\" text-anchor=\"middle\">seconds a step (simulated)</text>\n"
        "<text x=\"18\" y=\"290\" text-anchor=\"middle\" transform=\"rotate(-90 18 290)\">joules a step "
        "(modelled)</text>\n";
    for (const bool pareto : {false, true}) {
        for (const PointResult& r : results) {
            if (!r.error.empty() || r.pareto != pareto) continue;
            const double radius = 3 + 9 * std::sqrt(static_cast<double>(r.elements) / most_elements);
            svg += fmt::format(
                "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\" fill-opacity=\"0.65\" "
                "stroke=\"#335\"><title>{}: {:.4g} s, {:.4g} J, {} "
                "elements</title></circle>\n",
                x.at(r.seconds), y.at(r.joules), radius, pareto ? "#2a6fdb" : "#cccccc", escaped(r.label),
                r.seconds, r.joules, r.elements);
            if (pareto)
                svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"9\">{}</text>\n",
                                   x.at(r.seconds) + radius + 2, y.at(r.joules) + 3, escaped(r.label));
        }
    }
    return svg + "</svg>\n";
}

}  // namespace enmesh::accel
