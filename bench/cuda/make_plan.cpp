#include <fmt/format.h>

#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "plan_networks.hpp"

// Writes what measure.sh measures, with the model's predictions.

namespace {

constexpr const char* usage =
    "Usage: stc_plan                                     the plan of measure.sh, to standard output\n"
    "       stc_plan REPORT.json [--set KEY=VALUE]...    that of a report of enmesh simulate --accel stc-*,\n"
    "                                                    --set as it was given there\n";

int run(const std::vector<std::string>& arguments) {
    std::string report;
    std::vector<std::string> settings;
    for (size_t i = 0; i < arguments.size(); ++i) {
        if (arguments[i] == "--help") {
            fmt::print("{}", usage);
            return 0;
        }
        if (arguments[i] == "--set" && i + 1 < arguments.size()) {
            settings.push_back(arguments[++i]);
        } else if (arguments[i].starts_with("-") || !report.empty()) {
            throw std::runtime_error(fmt::format("unknown argument '{}' (see --help)", arguments[i]));
        } else {
            report = arguments[i];
        }
    }
    if (report.empty()) {
        if (!settings.empty()) throw std::runtime_error("--set belongs to a report");
        fmt::print("{}", to_json(enmesh::cuda::network_plan()));
        return 0;
    }
    std::ifstream file(report, std::ios::binary);
    if (!file) throw std::runtime_error(fmt::format("'{}' cannot be read", report));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    fmt::print("{}", to_json(enmesh::cuda::report_plan(text, settings)));
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        return run({arguments + 1, arguments + count});
    } catch (const std::exception& error) {
        fmt::print(stderr, "stc_plan: error: {}\n", error.what());
        return 2;
    }
}
