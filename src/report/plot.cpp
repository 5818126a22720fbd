#include "enmesh/report/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace enmesh::report {
namespace {

constexpr double width = 640, height = 360;
constexpr double left = 70, right = 620, top = 36, bottom = 300;
constexpr size_t colours = 8;

/// Values of one axis to positions of the picture.
class Scale {
  public:
    Scale(const std::vector<double>& values, bool log, double from, double to)
        : log_(log), from_(from), to_(to) {
        double low = std::numeric_limits<double>::infinity(), high = -low;
        for (const double value : values) {
            if (!shows(value)) continue;
            low = std::min(low, bent(value));
            high = std::max(high, bent(value));
        }
        if (!(low <= high)) low = 0, high = 1;
        // A single value, or values that rounding alone keeps apart, still need a range.
        const double least = std::max(1e-12, 1e-9 * std::max(std::abs(low), std::abs(high)));
        if (!(high - low > least)) {
            const double half = std::max(0.5, 0.05 * std::abs(low));
            low -= half;
            high += half;
        }
        const double room = 0.04 * (high - low);
        low_ = low - room;
        high_ = high + room;
    }

    bool shows(double value) const { return std::isfinite(value) && (!log_ || value > 0); }
    double at(double value) const { return from_ + (bent(value) - low_) / (high_ - low_) * (to_ - from_); }

    std::vector<double> ticks() const {
        if (log_ && high_ - low_ > 0.7) return log_ticks();
        std::vector<double> result;
        const double low = unbent(low_), high = unbent(high_), step = nice_step((high - low) / 5);
        // Adding 0 makes a zero of -0.
        for (double i = std::ceil(low / step); i * step <= high; ++i) result.push_back(i * step + 0.0);
        return result;
    }

  private:
    double bent(double value) const { return log_ ? std::log10(value) : value; }
    double unbent(double value) const { return log_ ? std::pow(10, value) : value; }
    /// Powers of ten, and over few of them 2 and 5 times these.
    std::vector<double> log_ticks() const {
        std::vector<double> result;
        const double stride = std::ceil((high_ - low_) / 7);
        for (double power = std::floor(low_ / stride) * stride; power <= high_; power += stride) {
            for (const double factor : {1.0, 2.0, 5.0}) {
                if (factor > 1 && high_ - low_ > 3) break;
                const double tick = factor * std::pow(10, power);
                if (bent(tick) >= low_ && bent(tick) <= high_) result.push_back(tick);
            }
        }
        return result;
    }
    /// 1, 2 or 5 times a power of ten, at least `step`.
    static double nice_step(double step) {
        const double power = std::pow(10, std::floor(std::log10(step)));
        for (const double factor : {1.0, 2.0, 5.0})
            if (factor * power >= step) return factor * power;
        return 10 * power;
    }

    bool log_;
    double from_, to_, low_ = 0, high_ = 1;
};

std::string svg_start(const std::string& title, double tall) {
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {0:g} {1:g}\" role=\"group\" "
        "aria-label=\"{2}\">\n<text x=\"{3:g}\" y=\"20\" class=\"title\">{2}</text>\n",
        width, tall, escaped(title), left);
}

std::string axes(const Scale& x, const Scale& y, const Axis& x_axis, const Axis& y_axis) {
    std::string svg;
    for (const double tick : x.ticks()) {
        svg += fmt::format(
            "<path class=\"grid\" d=\"M{0:.1f} {1:g}V{2:g}\"/><text x=\"{0:.1f}\" y=\"{3:g}\" "
            "text-anchor=\"middle\">{4:.4g}</text>\n",
            x.at(tick), bottom, top, bottom + 16, tick);
    }
    for (const double tick : y.ticks()) {
        svg += fmt::format(
            "<path class=\"grid\" d=\"M{1:g} {0:.1f}H{2:g}\"/><text x=\"{3:g}\" y=\"{4:.1f}\" "
            "text-anchor=\"end\">{5:.4g}</text>\n",
            y.at(tick), left, right, left - 6, y.at(tick) + 4, tick);
    }
    const double middle = (left + right) / 2, centre = (top + bottom) / 2;
    svg += fmt::format(
        "<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"middle\">{}</text>\n"
        "<text x=\"14\" y=\"{:g}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {:g})\">{}</text>\n",
        middle, bottom + 34, escaped(x_axis.label), centre, centre, escaped(y_axis.label));
    return svg;
}

/// The end of a text that is longer than `most` bytes, from a whole character on.
std::string end_of(const std::string& text, size_t most) {
    if (text.size() <= most) return text;
    size_t from = text.size() - most;
    while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
    return "…" + text.substr(from);
}

/// Names in rows of four; `tall` grows with them.
std::string legend(const std::vector<std::string>& names, double from, bool lines) {
    std::string svg;
    for (size_t i = 0; i < names.size(); ++i) {
        const double x = left + 140 * static_cast<double>(i % 4), y = from + 18 * static_cast<double>(i / 4);
        const std::string shown = end_of(names[i], 18);
        svg += lines
                   ? fmt::format("<path class=\"line c{}\" d=\"M{:g} {:g}h18\"/>", i % colours, x, y - 4)
                   : fmt::format("<rect class=\"bar c{}\" x=\"{:g}\" y=\"{:g}\" width=\"12\" height=\"12\"/>",
                                 i % colours, x, y - 10);
        svg += fmt::format("<text x=\"{:g}\" y=\"{:g}\">{}</text>\n", x + 22, y, escaped(shown));
    }
    return svg;
}

double legend_height(size_t names) { return 18 * static_cast<double>((names + 3) / 4); }

std::string path_of(const Curve& curve, const Scale& x, const Scale& y) {
    std::string path;
    bool drawing = false;
    for (size_t i = 0; i < curve.x.size(); ++i) {
        const bool shown = x.shows(curve.x[i]) && y.shows(curve.y[i]);
        if (shown)
            path += fmt::format("{}{:.1f} {:.1f}", drawing ? 'L' : 'M', x.at(curve.x[i]), y.at(curve.y[i]));
        drawing = shown;
    }
    return path;
}

}  // namespace

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            case '\'':
                result += "&#39;";
                break;
            default:
                result += c;
        }
    }
    return result;
}

std::string_view plot_style() {
    return R"(.plot{--ink:#222;--grid:#ddd;--front:#0072b2;--rest:#777;--face:#fff}
.plot{width:100%;max-width:640px;height:auto;font:12px sans-serif}
.plot text{fill:var(--ink)}.plot .title{font-size:14px;font-weight:bold}
.plot .grid{stroke:var(--grid);fill:none}.plot .line{fill:none;stroke-width:2;stroke:var(--c)}
.plot .bar,.plot .dot{fill:var(--c)}.plot .mark{fill:var(--rest);fill-opacity:.7;stroke:var(--face)}
.plot .mark.strong{fill:var(--front);fill-opacity:1}.plot .mark:focus{outline:none;stroke:var(--ink);stroke-width:3}
.plot .c0{--c:#0072b2}.plot .c1{--c:#d55e00;stroke-dasharray:7 3}.plot .c2{--c:#009e73;stroke-dasharray:2 3}
.plot .c3{--c:#cc79a7;stroke-dasharray:9 3 2 3}.plot .c4{--c:#e69f00}.plot .c5{--c:#56b4e9;stroke-dasharray:7 3}
.plot .c6{--c:#b8a800;stroke-dasharray:2 3}.plot .c7{--c:#777;stroke-dasharray:9 3 2 3}
@media screen and (prefers-color-scheme:dark){.plot{--ink:#eee;--grid:#444;--front:#56b4e9;--rest:#999;--face:#181818}
.plot .c0{--c:#56b4e9}.plot .c5{--c:#0072b2}.plot .c6{--c:#f0e442}}
)";
}

std::string line_plot(const std::string& title, const Axis& x_axis, const Axis& y_axis,
                      const std::vector<Curve>& curves) {
    std::vector<double> xs, ys;
    std::vector<std::string> names;
    for (const Curve& curve : curves) {
        xs.insert(xs.end(), curve.x.begin(), curve.x.end());
        ys.insert(ys.end(), curve.y.begin(), curve.y.end());
        names.push_back(curve.name);
    }
    const Scale x(xs, x_axis.log, left, right), y(ys, y_axis.log, bottom, top);
    std::string svg = svg_start(title, height + legend_height(names.size()));
    svg += axes(x, y, x_axis, y_axis);
    for (size_t i = 0; i < curves.size(); ++i) {
        const std::string path = path_of(curves[i], x, y);
        if (path.empty()) continue;
        svg += fmt::format("<path class=\"line c{}\" d=\"{}\"><title>{}</title></path>\n", i % colours, path,
                           escaped(curves[i].name));
        // A run of one epoch has no line.
        if (curves[i].x.size() == 1)
            svg += fmt::format("<circle class=\"dot c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n",
                               i % colours, x.at(curves[i].x[0]), y.at(curves[i].y[0]));
    }
    return svg + legend(names, height, true) + "</svg>\n";
}

std::string scatter_plot(const std::string& title, const Axis& x_axis, const Axis& y_axis,
                         const std::vector<Mark>& marks) {
    std::vector<double> xs, ys;
    for (const Mark& mark : marks) {
        xs.push_back(mark.x);
        ys.push_back(mark.y);
    }
    const Scale x(xs, x_axis.log, left, right), y(ys, y_axis.log, bottom, top);
    std::string svg = svg_start(title, height) + axes(x, y, x_axis, y_axis);
    for (const bool strong : {false, true}) {
        for (const Mark& mark : marks) {
            if (mark.strong != strong || !x.shows(mark.x) || !y.shows(mark.y)) continue;
            svg += fmt::format(
                "<circle class=\"mark{}\" tabindex=\"0\" role=\"img\" aria-label=\"{}\" cx=\"{:.1f}\" "
                "cy=\"{:.1f}\" r=\"{}\"><title>{}</title></circle>\n",
                strong ? " strong" : "", escaped(mark.text), x.at(mark.x), y.at(mark.y), strong ? 6 : 4,
                escaped(mark.text));
        }
    }
    return svg + "</svg>\n";
}

std::string bar_plot(const std::string& title, const std::string& unit, const std::vector<std::string>& names,
                     const std::vector<Bar>& bars) {
    constexpr double row = 18, first = 40, from = 190;
    std::vector<double> totals = {0};
    for (const Bar& bar : bars) {
        double total = 0;
        for (const double part : bar.parts) total += part;
        totals.push_back(total);
    }
    const Scale x(totals, false, from, right);
    const double end = first + row * static_cast<double>(bars.size());
    std::string svg = svg_start(title, end + 54 + legend_height(names.size()));
    for (const double tick : x.ticks()) {
        if (tick < 0) continue;
        svg += fmt::format(
            "<path class=\"grid\" d=\"M{0:.1f} {1:g}V{2:g}\"/><text x=\"{0:.1f}\" y=\"{3:g}\" "
            "text-anchor=\"middle\">{4:.4g}</text>\n",
            x.at(tick), first - 6, end, end + 14, tick);
    }
    for (size_t i = 0; i < bars.size(); ++i) {
        const double y = first + row * static_cast<double>(i);
        const std::string& label = bars[i].label;
        const std::string shown = end_of(label, 25);
        svg += fmt::format("<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"end\">{}</text>\n", from - 4, y + 11,
                           escaped(shown));
        double sum = 0;
        for (size_t part = 0; part < bars[i].parts.size(); ++part) {
            const double value = bars[i].parts[part];
            if (!(value > 0)) continue;
            svg += fmt::format(
                "<rect class=\"bar c{}\" x=\"{:.1f}\" y=\"{:g}\" width=\"{:.2f}\" height=\"13\"><title>{} "
                "{}: {:.6g} "
                "{}</title></rect>\n",
                part % colours, x.at(sum), y, x.at(sum + value) - x.at(sum), escaped(label),
                escaped(names[part]), value, escaped(unit));
            sum += value;
        }
    }
    svg += fmt::format("<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"middle\">{}</text>\n", (from + right) / 2,
                       end + 30, escaped(unit));
    return svg + legend(names, end + 50, false) + "</svg>\n";
}

}  // namespace enmesh::report
