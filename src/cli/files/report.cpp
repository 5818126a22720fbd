#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/accel/common/explore.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/report/page.hpp"

namespace enmesh::cli {
namespace {

using Json = nlohmann::ordered_json;

struct ReportArguments {
    std::vector<std::string> runs;
    std::string out;
};

constexpr size_t most_bytes = size_t{1} << 28;

Json parsed(const std::filesystem::path& file, const std::string& text, const char* what) {
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) refuse("{}: is not {}", file.string(), what);
    return json;
}

/// One object a line; a last line that was cut off is left out.
std::vector<Json> read_lines(const std::filesystem::path& file) {
    std::vector<Json> lines;
    std::istringstream stream(read_file(file, most_bytes));
    std::string line;
    for (size_t number = 1; std::getline(stream, line); ++number) {
        Json json = Json::parse(line, nullptr, false);
        if (json.is_discarded() && stream.eof()) break;
        if (!json.is_object()) refuse("{}:{}: is not a JSON object", file.string(), number);
        lines.push_back(std::move(json));
    }
    return lines;
}

/// Throws Json's exception where a key is missing or has another type.
Json train_run(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / "summary.json";
    Json run = {{"summary", parsed(file, read_file(file, most_bytes), "the summary of a training run")},
                {"epochs", Json::array()}};
    const Json& summary = run.at("summary");
    summary.at("model").at("model").get<std::string>();
    summary.at("left_dense").get<std::vector<Json>>();
    for (const char* const key : {"multiply_adds", "sparse_multiply_adds"})
        for (const char* const stage : {"FF", "BP", "WG"}) summary.at(key).at(stage).get<double>();
    for (Json& epoch : read_lines(folder / "metrics.jsonl")) {
        epoch.at("epoch").get<int64_t>();
        run["epochs"].push_back(std::move(epoch));
    }
    return run;
}

Json simulate_run(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / "report.json";
    Json run = {{"report", parsed(file, read_file(file, most_bytes), "the report of a simulation")}};
    run.at("report").at("total_cycles").get<int64_t>();
    for (const Json& product : run.at("report").at("products")) {
        product.at("layer").get<std::string>();
        product.at("stage").get<std::string>();
        product.at("cycles").get<double>();
        product.at("bytes").get<std::map<std::string, double>>();
        product.at("stalls").get<std::map<std::string, double>>();
    }
    return run;
}

Json explore_run(const std::filesystem::path& folder) {
    std::vector<Json> lines = read_lines(folder / "points.jsonl");
    if (lines.empty()) refuse("{}: is empty", (folder / "points.jsonl").string());
    Json run = {{"subject", lines.front().at("subject").get<std::string>()}, {"points", Json::array()}};
    std::vector<accel::PointResult> results;
    for (size_t i = 1; i < lines.size(); ++i) {
        accel::PointResult& result = results.emplace_back();
        result.label = lines[i].at("point");
        result.elements = lines[i].at("elements");
        result.error = lines[i].value("error", "");
        if (!result.error.empty()) continue;
        result.seconds = lines[i].at("seconds");
        result.total_cycles = lines[i].at("total_cycles");
        if (!lines[i].at("joules").is_null()) result.joules = lines[i].at("joules").get<double>();
    }
    accel::mark_pareto(results);
    for (size_t i = 0; i < results.size(); ++i) {
        lines[i + 1]["pareto"] = results[i].pareto;
        run["points"].push_back(std::move(lines[i + 1]));
    }
    return run;
}

struct Kind {
    const char* name;
    const char* file;  ///< that a folder of this kind has
    Json (*read)(const std::filesystem::path& folder);
};
constexpr Kind kinds[] = {{"train", "summary.json", train_run},
                          {"simulate", "report.json", simulate_run},
                          {"explore", "points.jsonl", explore_run}};

Json read_run(const std::filesystem::path& folder) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
        refuse("{}: is no folder; report takes folders of train, simulate --out or explore", folder.string());
    for (const Kind& kind : kinds) {
        if (!std::filesystem::exists(folder / kind.file, ignored)) continue;
        try {
            Json run = {{"name", ""}, {"kind", kind.name}};
            run.update(kind.read(folder));
            return run;
        } catch (const Json::exception&) {
            refuse("{}: is not what enmesh {} writes: a key is missing or has a value of another kind",
                   (folder / kind.file).string(), kind.name);
        }
    }
    if (std::filesystem::exists(folder / "metrics.jsonl", ignored))
        refuse("{}: has no summary.json yet: the run has not ended", folder.string());
    refuse(
        "{}: holds no run: neither summary.json (train), report.json (simulate --out) nor points.jsonl "
        "(explore)",
        folder.string());
}

/// The folder's own name, so that a page does not depend on where it was made from.
std::string short_name(const std::filesystem::path& folder) {
    std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    return path.filename().string();
}

/// Runs by their folders' names; those that share one, by the paths that were given.
Json document_of(const std::vector<std::string>& folders) {
    std::map<std::string, int> uses;
    for (const std::string& folder : folders) ++uses[short_name(folder)];
    Json document = {{"runs", Json::array()}};
    for (const std::string& folder : folders) {
        Json run = read_run(folder);
        const std::string name = short_name(folder);
        run["name"] = uses.at(name) == 1 ? name : folder;
        document["runs"].push_back(std::move(run));
    }
    return document;
}

void run_report(const ReportArguments& arguments) {
    const std::string out = arguments.out.empty()
                                ? (std::filesystem::path(arguments.runs.front()) / "report.html").string()
                                : arguments.out;
    const Json document = document_of(arguments.runs);
    std::vector<NamedFile> inputs;
    for (const std::string& run : arguments.runs)
        for (const char* const file : {"summary.json", "metrics.jsonl", "report.json", "points.jsonl"})
            inputs.push_back({"RUN", std::filesystem::path(run) / file});
    require_apart({{"--out", out}}, inputs);
    require_writable_target(out);
    const std::string page = report::html_page(json_document(document, -1));
    write_result(out, page);
    if (out != "-") fmt::print("wrote {}: {} bytes\n", out, with_commas(static_cast<int64_t>(page.size())));
}

}  // namespace

void add_report(CLI::App& app) {
    CLI::App* command =
        app.add_subcommand("report", "One HTML page of runs, simulations and explorations, with plots");
    const auto arguments = std::make_shared<ReportArguments>();
    command
        ->add_option("RUN", arguments->runs,
                     "Folders of train, simulate --out or explore; several stand side by side")
        ->required();
    command
        ->add_option("--out", arguments->out,
                     "The page; RUN/report.html of the first run if left out, - is standard output")
        ->type_name("FILE");
    command->footer(
        "Examples:\n"
        "  enmesh report runs/train\n"
        "  enmesh report runs/dense runs/bdwp --out comparison.html\n"
        "  enmesh simulate --model resnet9 --method bdwp --pattern 2:8 --out runs/sat && enmesh report "
        "runs/sat\n"
        "The page is one file that needs no network. Its numbers stand in it as JSON (id enmesh-data).");
    command->callback([arguments] { run_report(*arguments); });
}

}  // namespace enmesh::cli
