#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Pictures as SVG text: the same values give the same bytes. Colours are classes of plot_style(), which a
/// page or a picture of its own carries once: eight colours that colour-blind people tell apart (Okabe and
/// Ito), and another set of greys on a dark background. Lines differ in dashes too.
namespace enmesh::report {

/// Text for HTML and SVG: the characters &, <, >, " and ' are written as entities.
std::string escaped(std::string_view text);

/// The rules that the pictures need, as CSS.
std::string_view plot_style();

struct Axis {
    std::string label;  ///< with its unit
    bool log = false;   ///< values at or below 0 are left out
};

/// One curve. `x` and `y` have equal lengths; a value that is not finite leaves a gap.
struct Curve {
    std::string name;
    std::vector<double> x, y;
};
std::string line_plot(const std::string& title, const Axis& x, const Axis& y,
                      const std::vector<Curve>& curves);

/// One mark of a scatter plot, reachable by keyboard; `text` is what hovering shows.
struct Mark {
    double x = 0, y = 0;
    std::string text;
    bool strong = false;  ///< of the front, or of a group of its own
};
std::string scatter_plot(const std::string& title, const Axis& x, const Axis& y,
                         const std::vector<Mark>& marks);

/// One row of a bar plot: parts stacked from left to right, each 0 or more.
struct Bar {
    std::string label;
    std::vector<double> parts;
};
/// `names`: of the parts, in the legend. `unit` stands below the axis.
std::string bar_plot(const std::string& title, const std::string& unit, const std::vector<std::string>& names,
                     const std::vector<Bar>& bars);

}  // namespace enmesh::report
