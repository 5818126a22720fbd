#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/model_options.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::cli {
namespace {

constexpr std::array product_stages{Stage::FF, Stage::BP, Stage::WG};

struct Options {
    ModelRequest request;
    std::string json, dot;
    bool step = false, methods = false;
};

/// A layer with parameters, or one that multiplies.
struct LayerRow {
    std::string name, kind;
    Shape output;
    int64_t parameters = 0;
    std::map<Stage, StageCount> counts;
};

struct Inspection {
    Graph graph;  ///< before differentiation
    TrainingStep step;
    std::vector<LayerRow> layers;
    int64_t parameters = 0;
    std::map<Stage, StageCount> totals;
};

int64_t parameters_of(const Graph& graph, const Node& node, std::vector<bool>& counted) {
    int64_t count = 0;
    for (const ValueId input : node.inputs) {
        if (graph.value(input).role != Role::parameter || counted[static_cast<size_t>(input.index)]) continue;
        counted[static_cast<size_t>(input.index)] = true;
        count += graph.type(input).shape.elements();
    }
    return count;
}

std::vector<LayerRow> forward_layers(const Graph& graph) {
    std::vector<LayerRow> rows;
    std::map<std::string, size_t> by_name;
    std::vector<bool> counted(graph.values().size(), false);
    for (const Node& node : graph.nodes()) {
        const int64_t parameters = parameters_of(graph, node, counted);
        if (parameters == 0 && !is_product(node.operation)) continue;
        const auto [place, is_new] = by_name.emplace(node.layer, rows.size());
        if (is_new) {
            rows.push_back({.name = node.layer,
                            .kind = std::string(name(node.operation)),
                            .output = graph.type(node.outputs[0]).shape,
                            .counts = {}});
        }
        rows[place->second].parameters += parameters;
    }
    return rows;
}

StageCount count_node(const Graph& graph, const Node& node) {
    std::vector<ValueType> inputs, outputs;
    for (const ValueId id : node.inputs) inputs.push_back(graph.type(id));
    for (const ValueId id : node.outputs) outputs.push_back(graph.type(id));
    const OperationCount counted = count(node.operation, inputs, outputs);
    return {counted.multiply_adds, counted.sparse_multiply_adds};
}

void count_layers(Inspection& inspection) {
    std::map<std::string, LayerRow*> by_name;
    for (LayerRow& row : inspection.layers) by_name[row.name] = &row;
    for (const Node& node : inspection.step.graph.nodes()) {
        if (!is_product(node.operation)) continue;
        const StageCount counted = count_node(inspection.step.graph, node);
        StageCount& count = by_name.at(node.layer)->counts[node.stage];
        count.multiply_adds += counted.multiply_adds;
        count.sparse_multiply_adds += counted.sparse_multiply_adds;
    }
    for (const Stage stage : product_stages)
        inspection.totals[stage] = count_products(inspection.step, stage);
    for (const LayerRow& row : inspection.layers) inspection.parameters += row.parameters;
}

Inspection inspect(const ModelRequest& request) {
    Inspection result;
    Notes notes;
    result.graph = requested_graph(request, model_options(request), notes);
    const Recipe recipe = recipe_for(result.graph, request);
    const std::span<const Value> values = result.graph.values();
    if (std::none_of(values.begin(), values.end(),
                     [](const Value& value) { return value.role == Role::parameter; }))
        refuse("{}: the graph has no parameter to train", request.model);
    result.step = build_training_step(result.graph, recipe, {});
    notes.print();
    result.layers = forward_layers(result.graph);
    count_layers(result);
    return result;
}

/// "1.23 G": three or more significant digits, powers of 1000.
std::string scaled_count(int64_t count) {
    constexpr std::array units{"", " k", " M", " G", " T", " P", " E"};
    auto value = static_cast<double>(count);
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < units.size()) {
        value /= 1000;
        ++unit;
    }
    return unit == 0 ? fmt::format("{}", count) : fmt::format("{:#.4g}{}", value, units[unit]);
}

std::string binary_bytes(int64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

using Row = std::vector<std::string>;

/// Columns as wide as their longest cell; the first `text_columns` flush left, the rest flush right.
std::string aligned(const std::vector<Row>& rows, size_t text_columns) {
    std::vector<size_t> widths;
    for (const Row& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string text;
    for (const Row& row : rows) {
        std::string line;
        for (size_t i = 0; i < row.size(); ++i) {
            line += i < text_columns ? fmt::format("{:<{}}  ", row[i], widths[i])
                                     : fmt::format("{:>{}}  ", row[i], widths[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

/// Dense and, if it differs, what is left of it: "589.8 k>147.5 k".
std::string count_cell(const std::map<Stage, StageCount>& counts, Stage stage) {
    const auto found = counts.find(stage);
    if (found == counts.end() || found->second.multiply_adds == 0) return "-";
    const StageCount& count = found->second;
    const std::string dense = scaled_count(count.multiply_adds);
    if (count.sparse_multiply_adds == count.multiply_adds) return dense;
    return fmt::format("{} > {}", dense, scaled_count(count.sparse_multiply_adds));
}

std::string layer_table(const Inspection& inspection) {
    std::vector<Row> rows{{"layer", "kind", "output", "parameters", "FF", "BP", "WG"}};
    const auto add = [&](const std::string& name, const std::string& kind, const std::string& output,
                         int64_t parameters, const std::map<Stage, StageCount>& counts) {
        Row row{name, kind, output, scaled_count(parameters)};
        for (const Stage stage : product_stages) row.push_back(count_cell(counts, stage));
        rows.push_back(std::move(row));
    };
    for (const LayerRow& row : inspection.layers)
        add(row.name, row.kind, to_string(row.output), row.parameters, row.counts);
    add("total", "", "", inspection.parameters, inspection.totals);
    return aligned(rows, 3);
}

/// Names separated by commas, in lines of at most 100 columns, each indented.
std::string wrapped(const std::vector<std::string>& names) {
    constexpr size_t columns = 100;
    std::string text, line = "     ";
    for (size_t i = 0; i < names.size(); ++i) {
        const std::string word = " " + names[i] + (i + 1 < names.size() ? "," : "");
        if (line.size() + word.size() > columns) {
            text += line + "\n";
            line = "     ";
        }
        line += word;
    }
    return text + line + "\n";
}

/// Every layer that was left dense, under the stages and the reason.
std::string left_dense_table(const std::vector<LayerDecision>& decisions) {
    std::vector<std::pair<std::string, std::string>> stages_by_key;  // layer and reason, in order
    std::map<std::string, size_t> places;
    for (const LayerDecision& decision : decisions) {
        if (decision.reason.empty()) continue;
        const std::string key = decision.layer + "\n" + decision.reason;
        const auto [place, is_new] = places.emplace(key, stages_by_key.size());
        if (is_new) stages_by_key.emplace_back(key, "");
        std::string& stages = stages_by_key[place->second].second;
        stages += (stages.empty() ? "" : ", ") + to_string(decision.stage);
    }
    std::vector<std::pair<std::string, std::vector<std::string>>> groups;
    for (const auto& [key, stages] : stages_by_key) {
        const std::string heading = fmt::format("  {}: {}\n", stages, key.substr(key.find('\n') + 1));
        auto group = std::find_if(groups.begin(), groups.end(),
                                  [&](const auto& candidate) { return candidate.first == heading; });
        if (group == groups.end()) group = groups.insert(group, {heading, {}});
        group->second.push_back(key.substr(0, key.find('\n')));
    }
    std::string text = groups.empty() ? "" : "\nleft dense:\n";
    for (const auto& [heading, names] : groups) text += heading + wrapped(names);
    return text;
}

std::string summary(const Inspection& inspection) {
    StageCount all;
    for (const auto& [stage, count] : inspection.totals) {
        all.multiply_adds += count.multiply_adds;
        all.sparse_multiply_adds += count.sparse_multiply_adds;
    }
    std::string text = fmt::format("\nmultiply-adds per step: {}", scaled_count(all.multiply_adds));
    if (!inspection.step.recipe.dense() && all.multiply_adds > 0) {
        text += fmt::format(
            ", {} executed ({:.1f} %)", scaled_count(all.sparse_multiply_adds),
            100.0 * static_cast<double>(all.sparse_multiply_adds) / static_cast<double>(all.multiply_adds));
    }
    return text + fmt::format("\npeak memory of a step: {} (f32, SGD with momentum)\n",
                              binary_bytes(peak_bytes(inspection.step)));
}

std::string human(const Options& options, const Inspection& inspection) {
    const Shape& images = inspection.graph.type(inspection.graph.find("images")).shape;
    std::string text = fmt::format("{}, images {}, {}; multiply-adds per step, dense > executed\n\n",
                                   options.request.model, to_string(images), method_text(inspection.step));
    text += layer_table(inspection);
    text += left_dense_table(inspection.step.decisions);
    return text + summary(inspection);
}

using Json = nlohmann::ordered_json;

Json stage_json(const std::map<Stage, StageCount>& counts, int64_t StageCount::*member) {
    Json json;
    for (const Stage stage : product_stages) {
        const auto found = counts.find(stage);
        json[to_string(stage)] = found == counts.end() ? 0 : found->second.*member;
    }
    return json;
}

Json to_json(const Options& options, const Inspection& inspection) {
    const Recipe& recipe = inspection.step.recipe;
    Json json{{"model", options.request.model}, {"method", recipe.method}};
    json["pattern"] = recipe.dense() ? Json(nullptr) : Json(patterns_text(recipe, inspection.step.decisions));
    json["images"] = inspection.graph.type(inspection.graph.find("images")).shape.dims();
    json["parameters"] = inspection.parameters;
    json["layers"] = Json::array();
    for (const LayerRow& row : inspection.layers) {
        json["layers"].push_back(
            {{"name", row.name},
             {"kind", row.kind},
             {"output", row.output.dims()},
             {"parameters", row.parameters},
             {"multiply_adds", stage_json(row.counts, &StageCount::multiply_adds)},
             {"sparse_multiply_adds", stage_json(row.counts, &StageCount::sparse_multiply_adds)}});
    }
    json["multiply_adds"] = stage_json(inspection.totals, &StageCount::multiply_adds);
    json["sparse_multiply_adds"] = stage_json(inspection.totals, &StageCount::sparse_multiply_adds);
    json["left_dense"] = Json::array();
    for (const LayerDecision& decision : inspection.step.decisions) {
        if (decision.reason.empty()) continue;
        json["left_dense"].push_back(
            {{"name", decision.layer}, {"stage", to_string(decision.stage)}, {"reason", decision.reason}});
    }
    json["peak_bytes"] = peak_bytes(inspection.step);
    return json;
}

void run(const Options& options) {
    if (options.methods) return write_result("-", recipe_table());
    const int printed = (options.json == "-" ? 1 : 0) + (options.dot == "-" ? 1 : 0) + (options.step ? 1 : 0);
    if (printed > 1) refuse("--json -, --dot and --step each take the whole of standard output: choose one");
    require_writable_target(options.json);
    require_writable_target(options.dot);
    require_apart({{"--json", options.json}, {"--dot", options.dot}},
                  {{"--model", onnx_file(options.request)}});
    const Inspection inspection = inspect(options.request);
    write_result(options.json, json_document(to_json(options, inspection), 2));
    write_result(options.dot, dot(inspection.step.graph));
    if (options.step) return write_result("-", print(inspection.step));
    if (printed == 0) write_result("-", human(options, inspection));
}

}  // namespace

void add_inspect(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command =
        app.add_subcommand("inspect", "Show a training step: layers, parameters, multiply-adds, memory");
    add_model_options(*command, options->request);
    command->add_flag("--methods", options->methods, "Print the table of sparsity methods and stop");
    command->add_flag("--step", options->step, "Print every node of the step");
    command->add_option("--dot", options->dot, "Write the step as a Graphviz drawing (- for standard output)")
        ->type_name("[FILE]")
        ->expected(0, 1)
        ->default_str("-");
    command->add_option("--json", options->json, "Write the result as JSON (- for standard output)")
        ->type_name("FILE");
    command->footer(
        "Examples:\n"
        "  enmesh inspect --model resnet18 --batch 512 --method bdwp --pattern 2:8\n"
        "  enmesh inspect --model resnet50 --classes 1000 --image 3x224x224 --json -\n"
        "  enmesh inspect --model resnet9 --method bdwp --pattern 2:8 --dense 'res2.*' --sparse fc --step\n"
        "  enmesh inspect --model lenet5 --image 1x28x28 --dot | dot -Tsvg > step.svg\n"
        "  enmesh inspect --methods");
    command->callback([options] { run(*options); });
}

}  // namespace enmesh::cli
