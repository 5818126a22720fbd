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
#include "cli/options/json_text.hpp"
#include "cli/options/run_options.hpp"
#include "cli/options/team.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/fnv.hpp"
#include "enmesh/base/folder_lock.hpp"
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
    /// `tables`: for points whose own energy table is a file, by label, what table_content() says of it.
    PointFile(const std::string& folder, const std::string& subject,
              std::map<std::string, std::string> tables)
        : path_(folder + "/points.jsonl"), tables_(std::move(tables)) {
        make_writable_directory(folder);
        lock_.emplace(folder);
        const std::string first_line = json_document(Json{{"subject", subject}}, -1);
        if (std::filesystem::exists(path_)) read(Json::parse(first_line).at("subject").get<std::string>());
        std::string kept = first_line;
        for (const accel::PointResult& r : finished) kept += line_of(r) + "\n";
        write_file(path_, kept);
        stream_.open(path_, std::ios::app);
    }

    void append(const accel::PointResult& result) {
        stream_ << line_of(result) << '\n' << std::flush;
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

    std::string line_of(const accel::PointResult& result) const {
        Json json = to_json(result);
        if (const auto table = tables_.find(result.label); table != tables_.end())
            json["energy_table"] = table->second;
        std::string line = json_document(json, -1);
        line.pop_back();
        return line;
    }

    accel::PointResult read_point(const Json& json, size_t number) {
        try {
            if (json.is_object()) {
                accel::PointResult result = from_json(json);
                check_table(result.label, json.value("energy_table", ""), number);
                return result;
            }
        } catch (const Json::exception&) {
            // Said below.
        }
        refuse("{}:{}: is not a point of an exploration; mend or delete the line", path_, number);
    }

    /// A point of another sweep keeps what its line says.
    void check_table(const std::string& label, const std::string& there, size_t number) {
        const auto here = tables_.find(label);
        if (here == tables_.end()) {
            if (!there.empty()) tables_.emplace(label, there);
        } else if (here->second != there) {
            refuse("{}:{}: ran with other contents of its energy table; name another --out, or delete it",
                   path_, number);
        }
    }

    std::string path_;
    std::map<std::string, std::string> tables_;
    std::optional<FolderLock> lock_;
    std::ofstream stream_;
};

/// Hash of the files' contents, where there are any; an ONNX file's external data count too.
uint64_t content_of(const std::vector<std::string>& files) {
    uint64_t hash = fnv1a("");
    for (const std::string& file : files) {
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(file, ignored)) continue;  // a pipe is read once only
        hash = fnv1a(read_file(file), fnv1a(" file ", hash));
        if (!onnx::is_onnx_path(file)) continue;
        for (const std::filesystem::path& data : onnx::external_files(file))
            hash = fnv1a(read_file(data), fnv1a(" data ", hash));
    }
    return hash;
}

/// The files that the values of these parameters name.
std::vector<std::string> files_of(std::span<const accel::Parameter* const> parameters,
                                  const std::string& value) {
    std::vector<std::string> files;
    for (const accel::Parameter* const parameter : parameters)
        if (parameter->or_file && std::ranges::find(parameter->choices, value) == parameter->choices.end())
            files.push_back(value);
    return files;
}

/// The files that the machine's own parameters name.
std::vector<std::string> files_of(const accel::Accelerator& machine) {
    const std::unique_ptr<accel::Accelerator> copy = machine.clone();
    std::vector<std::string> files;
    for (const accel::Parameter& parameter : copy->parameters()) {
        if (const auto* const text = std::get_if<std::string*>(&parameter.field)) {
            const std::array one = {&parameter};
            std::ranges::copy(files_of(one, **text), std::back_inserter(files));
        }
    }
    return files;
}

/// What the files hold that a point's own settings name: 16 digits, "" where they name none.
std::string table_content(const accel::Accelerator& base, const accel::DesignPoint& point) {
    const std::unique_ptr<accel::Accelerator> copy = base.clone();
    const std::vector<accel::Parameter> list = copy->parameters();
    std::vector<std::string> files;
    for (const auto& [key, value] : point.settings)
        std::ranges::copy(files_of(accel::parameters_named(list, key), value), std::back_inserter(files));
    return files.empty() ? "" : fmt::format("{:016x}", content_of(files));
}

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
    std::vector<std::string> inputs = files_of(machine);
    inputs.insert(inputs.begin(), {a.topology, onnx_file(m)});
    return fmt::format("{} machine {} {:016x} inputs {:016x} cost model {}", text, machine.name(),
                       fnv1a(accel::config_text(machine)), content_of(inputs), machine.cost_model_version());
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
    std::map<std::string, std::string> tables;
    for (const accel::DesignPoint& point : points) {
        if (const std::string content = table_content(base, point); !content.empty())
            tables.emplace(point.label(), content);
    }
    PointFile file(options.out, subject_of(options, base), std::move(tables));
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
            for (const std::string& file : files_of(accel::parameters_named(list, key), value))
                inputs.push_back({"--sweep " + key, file});
    const std::filesystem::path out(options.out);
    require_apart({{"--out", out / "points.jsonl"}, {"--out", out / "pareto.svg"}, {"--json", options.json}},
                  inputs);
    require_writable_results({options.json}, options.out);
}

void run(const Options& options) {
    use_threads(options.threads);
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
        write_result(options.json, json_document(Json{{"points", json}}, 1));
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
