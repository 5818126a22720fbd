#include "cli/files/prune_report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace enmesh::cli {
namespace {

using nlohmann::ordered_json;

std::string lost(double magnitude, double kept) {
    return fmt::format("{:.2f} %", magnitude > 0 ? 100 * (1 - kept / magnitude) : 0.0);
}

/// The tensor, and its layer where the name does not tell it.
std::string shown(const std::string& name, const std::string& layer) {
    return layer.empty() || name.starts_with(layer) ? name : fmt::format("{} of {}", name, layer);
}

ordered_json groups_json(const PruneReport& report) {
    ordered_json groups = ordered_json::array();
    for (const SearchedGroup& group : report.groups) {
        groups.push_back({{"channels", group.channels},
                          {"readers", group.readers},
                          {"producers", group.producers},
                          {"kept_plain", group.kept_plain},
                          {"kept", group.kept},
                          {"seconds", group.seconds},
                          {"exact", group.exact},
                          {"permuted", group.permuted}});
    }
    return groups;
}

}  // namespace

std::string json_text(const PruneReport& report) {
    ordered_json layers = ordered_json::array(), left = ordered_json::array();
    for (const PrunedLayer& layer : report.layers) {
        layers.push_back({{"name", layer.name},
                          {"rows", layer.rows},
                          {"cols", layer.cols},
                          {"magnitude", layer.magnitude},
                          {"kept_plain", layer.kept_plain},
                          {"kept", layer.kept},
                          {"seconds", layer.seconds},
                          {"exact", layer.exact}});
        if (!layer.layer.empty()) layers.back()["layer"] = layer.layer;
        if (layer.pattern != report.options.pattern) layers.back()["pattern"] = to_string(layer.pattern);
    }
    for (const LeftDense& tensor : report.left_dense) {
        left.push_back({{"name", tensor.name}, {"reason", tensor.reason}});
        if (!tensor.layer.empty()) left.back()["layer"] = tensor.layer;
    }
    ordered_json json = {
        {"pattern", to_string(report.options.pattern)}, {"layers", layers}, {"left_dense", left}};
    if (report.has_graph && report.options.permute) {
        json["groups"] = groups_json(report);
        ordered_json unpermuted = ordered_json::array();
        for (const UnpermutedInput& input : report.unpermuted)
            unpermuted.push_back({{"name", input.weights}, {"reason", input.reason}});
        json["unpermuted"] = unpermuted;
    }
    return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void print_table(std::FILE* stream, const PruneReport& report) {
    const auto title = [&](const PrunedLayer& layer) {
        return shown(layer.name, layer.layer) +
               (layer.pattern == report.options.pattern ? "" : " " + to_string(layer.pattern));
    };
    size_t width = 5;
    for (const PrunedLayer& layer : report.layers) width = std::max(width, title(layer).size());
    fmt::print(stream, "{:<{}}  {:>9} {:>7}  {:>10} {:>10}  {:>7}\n", "layer", width, "rows", "cols",
               "lost plain", "lost", "seconds");
    PrunedLayer total;
    for (const PrunedLayer& layer : report.layers) {
        fmt::print(stream, "{:<{}}  {:>9} {:>7}  {:>10} {:>10}  {:>7.2f}\n", title(layer), width, layer.rows,
                   layer.cols, lost(layer.magnitude, layer.kept_plain), lost(layer.magnitude, layer.kept),
                   layer.seconds);
        total.magnitude += layer.magnitude;
        total.kept_plain += layer.kept_plain;
        total.kept += layer.kept;
        total.seconds += layer.seconds;
    }
    fmt::print(stream, "{:<{}}  {:>9} {:>7}  {:>10} {:>10}  {:>7.2f}\n", "all", width, "", "",
               lost(total.magnitude, total.kept_plain), lost(total.magnitude, total.kept), total.seconds);
    for (const LeftDense& tensor : report.left_dense)
        fmt::print(stream, "left dense: {}  ({})\n", shown(tensor.name, tensor.layer), tensor.reason);
    if (!report.has_graph || !report.options.permute) return;
    for (const SearchedGroup& group : report.groups) {
        fmt::print(stream, "{}: {} channels read by {}{}{}\n",
                   group.permuted ? "permuted" : "searched, order kept", group.channels,
                   fmt::join(group.readers, ", "), group.producers.empty() ? "" : ", made by ",
                   fmt::join(group.producers, ", "));
    }
    for (const UnpermutedInput& input : report.unpermuted)
        fmt::print(stream, "not permuted: inputs of {}  ({})\n", input.weights, input.reason);
}

}  // namespace enmesh::cli
