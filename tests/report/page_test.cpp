#include "enmesh/report/page.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/report/plot.hpp"

namespace enmesh::report {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void expect_finite(const std::string& svg) {
    EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n")) << svg;
    EXPECT_FALSE(has(svg, "nan") || has(svg, "inf") || has(svg, ">-0<")) << svg;
}

TEST(Plot, DrawsOnlyWhatIsFinite) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    constexpr double big = std::numeric_limits<double>::infinity();
    for (const bool log : {false, true}) {
        const Axis x{"epoch"}, y{"loss", log};
        expect_finite(line_plot("none", x, y, {}));
        expect_finite(line_plot("one", x, y, {{"a", {1}, {2}}}));
        expect_finite(line_plot("one bad", x, y, {{"a", {1}, {nan}}}));
        expect_finite(line_plot("constant", x, y, {{"a", {1, 2}, {1e9, 1e9}}}));
        expect_finite(line_plot("gaps", x, y, {{"a", {1, 2, 3, 4}, {1, nan, big, 0}}}));
        expect_finite(
            scatter_plot("gaps", x, y, {{.x = 1, .y = -1, .text = "a"}, {.x = nan, .y = 1, .text = "b"}}));
    }
    expect_finite(bar_plot("zero", "cycles", {"FF"}, {{"conv1", {0}}}));
}

TEST(Plot, ABreakStandsWhereAValueIsMissing) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const std::string svg = line_plot("t", {"x"}, {"y"}, {{"a", {1, 2, 3, 4, 5}, {1, 2, nan, 4, 5}}});
    const size_t from = svg.find("class=\"line c0\" d=\"");
    const std::string path = svg.substr(from, svg.find("\">", from) - from);
    EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2) << path;
}

TEST(Plot, CutsLongNamesBetweenCharacters) {
    std::string name;
    for (int i = 0; i < 40; ++i) name += "é";
    for (const std::string& shown : {name, "x" + name}) {
        const std::string svg = bar_plot("t", "u", {"a"}, {{shown, {1}}});
        EXPECT_FALSE(has(svg, "…\xA9")) << svg;
        EXPECT_TRUE(has(svg, "…é")) << svg;
    }
}

TEST(Page, NamesCannotLeaveTheirPlace) {
    const std::string name = "</script><b>&\\\"'";
    const std::string page = html_page("{\"runs\": [{\"name\": \"" + name +
                                       "\", \"kind\": \"explore\", \"subject\": \"\", \"points\": []}]}");
    EXPECT_FALSE(has(page, "</script><b>"));
    EXPECT_FALSE(has(page, "<b>"));
    EXPECT_TRUE(has(page, "&lt;/script&gt;&lt;b&gt;&amp;&quot;&#39;"));
}

TEST(Page, RefusesWhatIsNoDocument) {
    for (const char* const text : {"", "[]", "{}", R"({"runs": [{"kind": "train"}]})"})
        EXPECT_THROW(html_page(text), Error) << text;
}

}  // namespace
}  // namespace enmesh::report
