#include "enmesh/accel/common/explore.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/options/accel_options.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/report/line_meter.hpp"

namespace enmesh::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
    AccelOptions accel;
    std::vector<std::string> sweeps;
    std::string out, json;
    int threads = 0;
};

Json to_json(const accel::PointResult& r) {
    Json json = {{"point", r.label}, {"elements", r.elements}};
    const bool ran = r.error.empty();
    json["total_cycles"] = ran ? Json(r.total_cycles) : Json(nullptr);
    json["seconds"] = ran ? Json(r.seconds) : Json(nullptr);
    json["joules"] = ran && r.joules ? Json(*r.joules) : Json(nullptr);
    if (!ran) json["error"] = r.error;
    return json;
}

accel::PointResult from_json(const Json& json) {
    accel::PointResult r;
    r.label = json.at("point");
    r.elements = json.at("elements");
    r.error = json.value("error", "");
    if (!r.error.empty()) return r;
    r.total_cycles = json.at("total_cycles");
    r.seconds = json.at("seconds");
    if (const Json& joules = json.at("joules"); !joules.is_null()) r.joules = joules.get<double>();
    return r;
}

/// points.jsonl: a line that says what is explored, then one line per finished point. A killed run leaves at
/// most a broken last line.
class PointFile {
  public:
    PointFile(const std::string& folder, const std::string& subject) : path_(folder + "/points.jsonl") {
        make_writable_directory(folder);
        if (std::filesystem::exists(path_)) read(subject);
        std::string kept = Json{{"subject", subject}}.dump() + "\n";
        for (const accel::PointResult& r : finished) kept += to_json(r).dump() + "\n";
        write_file(path_, kept);
        stream_.open(path_, std::ios::app);
    }

    void append(const accel::PointResult& result) {
        stream_ << to_json(result).dump() << '\n' << std::flush;
        if (!stream_) fail("{}: cannot be written", path_);
        finished.push_back(result);
    }

    std::vector<accel::PointResult> finished;

  private:
    void read(const std::string& subject) {
        const std::string text = read_file(path_, size_t{1} << 30);
        std::istringstream lines(text);
        std::string line;
        for (size_t number = 1; std::getline(lines, line); ++number) {
            const bool cut = lines.eof();
            const Json json = Json::parse(line, nullptr, false);
            if (cut && number > 1 && json.is_discarded()) {
                std::fprintf(stderr, "note: %s:%zu: the last line was cut off; its point runs again\n",
                             path_.c_str(), number);
                return;
            }
            if (number == 1)
                check_subject(json, subject);
            else
                finished.push_back(read_point(json, number));
        }
    }

    void check_subject(const Json& json, const std::string& subject) const {
        const auto said = json.find("subject");
        if (!json.is_object() || said == json.end() || !said->is_string())
            refuse("{}:1: is not the first line of an exploration's points", path_);
        if (said->get<std::string>() != subject)
            refuse("{}: holds another exploration; name another --out, or delete it", path_);
    }

    accel::PointResult read_point(const Json& json, size_t number) const {
        try {
            if (json.is_object()) return from_json(json);
        } catch (const Json::exception&) {
            // Said below.
        }
        refuse("{}:{}: is not a point of an exploration; mend or delete the line", path_, number);
    }

    std::string path_;
    std::ofstream stream_;
};

std::string subject_of(const Options& options, const accel::Accelerator& machine) {
    const AccelOptions& a = options.accel;
    const ModelRequest& m = a.model;
    std::string text = fmt::format("{} {} {} {} {} {} {} {}", a.topology, m.model, m.classes.value_or(0),
                                   m.image, m.width, m.batch, m.method, m.pattern);
    for (const RecipeOverride& layer : m.overrides) {
        text += fmt::format(" {}={}", layer.layers, layer.sparse);
        if (layer.pattern.m != 0) text += " " + to_string(layer.pattern);
    }
    if (m.on_demand) text += " on-demand";
    return fmt::format("{} machine {} {:016x} cost model {}", text, machine.name(),
                       std::hash<std::string>{}(accel::config_text(machine)), machine.cost_model_version());
}

/// One workload per swept pattern, made before the threads start.
std::map<std::string, accel::Workload> workloads(const Options& options,
                                                 std::span<const accel::DesignPoint> points) {
    std::map<std::string, accel::Workload> result;
    for (const accel::DesignPoint& point : points) {
        const std::string pattern = point.value("pattern");
        if (result.contains(pattern)) continue;
        AccelOptions one = options.accel;
        if (pattern == "dense")
            one.model.method = "dense";
        else if (!pattern.empty())
            one.model.pattern = pattern;
        result.emplace(pattern, load_workload(one));
    }
    return result;
}

void print_front(std::span<const accel::PointResult> results) {
    std::printf("%-64s %12s %12s %10s\n", "Pareto front", "seconds", "joules", "elements");
    for (const accel::PointResult& r : results) {
        if (r.pareto)
            fmt::print("{:<64} {:>12.5g} {:>12} {:>10}\n", r.label, r.seconds,
                       r.joules ? fmt::format("{:.5g}", *r.joules) : "-", r.elements);
    }
    const auto failed = std::count_if(results.begin(), results.end(),
                                      [](const accel::PointResult& r) { return !r.error.empty(); });
    if (failed > 0)
        std::printf("%lld points cannot run (see points.jsonl)\n", static_cast<long long>(failed));
}

std::vector<accel::PointResult> run_points(const Options& options, const accel::Accelerator& base,
                                           std::span<const accel::DesignPoint> points) {
    // A bad value is refused before the folder is looked at, and before any work.
    for (const accel::DesignPoint& point : points) machine_of(base, point, "--sweep");
    const std::map<std::string, accel::Workload> steps = workloads(options, points);
    PointFile file(options.out, subject_of(options, base));
    std::map<std::string, accel::PointResult> known;
    for (const accel::PointResult& r : file.finished) known.emplace(r.label, r);
    std::vector<accel::DesignPoint> open;
    for (const accel::DesignPoint& point : points) {
        if (!known.contains(point.label())) open.push_back(point);
    }
    if (open.size() < points.size())
        std::fprintf(stderr, "%zu of %zu points are there already\n", points.size() - open.size(),
                     points.size());
    const Timer timer;
    size_t done = 0;
    const auto status = [&] {
        return fmt::format("{}/{} points, {:.1f} a second", done, open.size(),
                           static_cast<double>(done) / timer.seconds());
    };
    report::LineMeter meter;
    accel::explore(
        open, base,
        [&](const accel::DesignPoint& point) -> const accel::Workload& {
            return steps.at(point.value("pattern"));
        },
        [&](const accel::PointResult& result) {
            file.append(result);
            known.emplace(result.label, result);
            ++done;
            if (meter.due()) meter.show(status());
        });
    meter.finish();
    if (!open.empty()) fmt::print(stderr, "{}\n", status());
    std::vector<accel::PointResult> results;
    for (const accel::DesignPoint& point : points) results.push_back(known.at(point.label()));
    return results;
}

void check_files(const Options& options, const accel::Accelerator& base,
                 std::span<const accel::DesignPoint> points) {
    std::vector<NamedFile> inputs = input_files(options.accel, &base);
    const std::unique_ptr<accel::Accelerator> copy = base.clone();
    const std::vector<accel::Parameter> list = copy->parameters();
    for (const accel::DesignPoint& point : points)
        for (const auto& [key, value] : point.settings)
            for (const accel::Parameter* const parameter : accel::parameters_named(list, key))
                if (parameter->or_file &&
                    std::ranges::find(parameter->choices, value) == parameter->choices.end())
                    inputs.push_back({"--sweep " + key, value});
    const std::filesystem::path out(options.out);
    require_apart({{"--out", out / "points.jsonl"}, {"--out", out / "pareto.svg"}, {"--json", options.json}},
                  inputs);
    require_writable_results({options.json}, options.out);
}

void run(const Options& options) {
    if (options.threads < 0) refuse("--threads {}: must be at least 1", options.threads);
    if (options.threads > 0) set_threads(options.threads);
    std::vector<accel::Sweep> sweeps;
    for (const std::string& text : options.sweeps) sweeps.push_back(accel::parse_sweep(text, "--sweep"));
    for (const accel::Sweep& sweep : sweeps) {
        if (sweep.key != "pattern") continue;
        if (!options.accel.topology.empty())
            refuse("--sweep pattern: a topology file says itself what is sparse");
        if (options.accel.model.method == "dense")
            refuse("--sweep pattern: method dense knows no pattern; give --method");
    }
    const std::unique_ptr<accel::Accelerator> base = load_machine(options.accel);
    const std::vector<accel::DesignPoint> points = accel::design_points(*base, sweeps, "--sweep");
    check_files(options, *base, points);
    std::vector<accel::PointResult> results = run_points(options, *base, points);
    accel::mark_pareto(results);
    const std::string what =
        options.accel.model.model.empty() ? options.accel.topology : options.accel.model.model;
    write_file(options.out + "/pareto.svg",
               accel::to_svg(results,
                             fmt::format("{} on {}: {} design points", what, base->name(), results.size())));
    if (!options.json.empty()) {
        Json json = Json::array();
        for (const accel::PointResult& r : results) {
            json.push_back(to_json(r));
            json.back()["pareto"] = r.pareto;
        }
        write_result(options.json, Json{{"points", json}}.dump(1) + "\n");
    }
    if (options.json != "-") print_front(results);
}

}  // namespace

void add_explore(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command =
        app.add_subcommand("explore",
                           "Sweep an accelerator's parameters, schedule every point, and find the "
                           "Pareto front of time, energy and elements");
    add_workload_options(*command, options->accel);
    add_machine_options(*command, options->accel);
    command
        ->add_option("--sweep", options->sweeps,
                     "key=v1,v2,…: a parameter, array=RxC,… or pattern=N:M,dense,…; repeat to span a grid")
        ->required()
        ->allow_extra_args(false)
        ->take_all();
    command
        ->add_option("--out", options->out, "folder for points.jsonl (resumed if it is there) and pareto.svg")
        ->required();
    command->add_option("--threads", options->threads, "cores to use (all by default)");
    command->add_option("--json", options->json, "all points as JSON; - for standard output");
    command->footer(
        "Examples:\n"
        "  enmesh explore --model resnet18 --batch 512 --method bdwp --sweep array=16x16,32x32,64x64 --sweep "
        "pattern=2:4,2:8,1:8 --out runs/explore\n"
        "  enmesh explore --model resnet50 --classes 1000 --image 3x224x224 --batch 512 --method bdwp "
        "--pattern 2:8\n"
        "      --sweep frequency_hz=2e8,3e8 --sweep peak_bytes_per_second=19.2e9,38.4e9,76.8e9 --out "
        "runs/bandwidth");
    command->callback([options] { run(*options); });
}

}  // namespace enmesh::cli
