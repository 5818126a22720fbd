#include "cli/options/accel_options.hpp"

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/options/run_options.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/accel/workload/topology.hpp"
#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/writable.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::cli {

void add_workload_options(CLI::App& app, AccelOptions& options) {
    add_model_options(app, options.model);
    app.add_option(
        "--topology", options.topology,
        "SCALE-Sim topology CSV (conv or GEMM form) in place of a model; its rows run as FF products");
}

void add_machine_options(CLI::App& app, AccelOptions& options) {
    std::string machines;
    for (const accel::RegisteredAccelerator& machine : accel::registered_accelerators())
        machines += fmt::format("{} ({}), ", machine.name, machine.about);
    app.add_option("--accel", options.accel, machines + "or A+B: both, WG on B and all else on A")
        ->capture_default_str();
    app.add_option("--config", options.config, "TOML file of machine parameters (see --print-config)");
    app.add_option("--set", options.settings, "key=value, over the file; may be repeated")
        ->allow_extra_args(false)
        ->take_all();
    app.add_option("--dataflow", options.dataflow,
                   "ws, os or is, as far as the machine runs them, or auto, the fastest for each product");
}

accel::Workload load_workload(const AccelOptions& options) {
    const bool model = !options.model.model.empty(), topology = !options.topology.empty();
    if (model == topology)
        refuse("name what to run: --model NAME or --topology FILE.csv{}", model ? ", not both" : "");
    if (model) {
        Notes notes;
        const Graph graph = requested_graph(options.model, model_options(options.model), notes);
        accel::Workload workload =
            accel::workload_of(build_training_step(graph, recipe_for(graph, options.model), {}));
        notes.print();
        workload.name = options.model.model;
        return workload;
    }
    const ModelRequest& m = options.model;
    const bool model_options = m.classes.has_value() || !m.image.empty() || m.width != 1 ||
                               m.batch != ModelRequest{}.batch || m.method != "dense" || !m.pattern.empty() ||
                               !m.overrides.empty() || m.on_demand;
    if (model_options)
        refuse(
            "--topology says all about its products: --classes, --image, --width, --batch, --method, "
            "--pattern, --dense, --sparse and --on-demand go with --model");
    return accel::read_topology(options.topology);
}

namespace {

/// The rows that --dataflow may mean.
std::vector<accel::Parameter> dataflows_of(accel::Accelerator& machine) {
    std::vector<accel::Parameter> rows;
    for (const accel::Parameter& parameter : machine.parameters())
        if (parameter.short_name() == "dataflow") rows.push_back(parameter);
    return rows;
}

/// "ws, os and auto"
std::string listed(std::span<const std::string> names, const std::string& last) {
    return fmt::format("{} {} {}", fmt::join(names.first(names.size() - 1), ", "), last, names.back());
}

bool has(std::span<const std::string> names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

[[noreturn]] void refuse_dataflow(const accel::Accelerator& machine, const std::string& dataflow,
                                  std::span<const std::string> known) {
    for (const accel::RegisteredAccelerator& other : accel::registered_accelerators())
        for (const accel::Parameter& row : dataflows_of(*other.make()))
            if (has(row.choices, dataflow))
                refuse("--dataflow {0}: {1} runs {2}; {0} belongs to --accel {3}", dataflow, machine.name(),
                       listed(known, "or"), other.name);
    refuse("--dataflow {}: is none of {}{}", dataflow, listed(known, "and"), suggestion(dataflow, known));
}

void set_dataflow(accel::Accelerator& machine, const std::string& dataflow) {
    require_facility(machine, accel::Facility::dataflow, "--dataflow");
    const std::vector<accel::Parameter> rows = dataflows_of(machine);
    ENMESH_ASSERT(!rows.empty());  // a machine that has the facility has the parameter
    for (const accel::Parameter& row : rows)
        ENMESH_ASSERT(std::holds_alternative<std::string*>(row.field) && !row.choices.empty());
    if (rows.size() > 1)
        refuse("--dataflow: {} has two engines: set {} or {}", machine.name(), rows[0].key, rows[1].key);
    if (!has(rows.front().choices, dataflow)) refuse_dataflow(machine, dataflow, rows.front().choices);
    *std::get<std::string*>(rows.front().field) = dataflow;
}

}  // namespace

std::unique_ptr<accel::Accelerator> named_machine(const AccelOptions& options) {
    try {
        return accel::make_accelerator(options.accel);
    } catch (const Error& error) {
        throw Error(error.kind(), fmt::format("--accel {}", error.what()));
    }
}

std::unique_ptr<accel::Accelerator> load_machine(const AccelOptions& options) {
    std::unique_ptr<accel::Accelerator> machine = named_machine(options);
    accel::configure(*machine, options.config, options.settings, "--set");
    if (!options.dataflow.empty()) set_dataflow(*machine, options.dataflow);
    return machine;
}

void require_facility(const accel::Accelerator& machine, accel::Facility facility,
                      const std::string& option) {
    if (const std::string why = machine.lacks(facility); !why.empty())
        refuse("{} does not go with --accel {}: {}", option, machine.name(), why);
}

void print_note(const accel::Accelerator& machine, const accel::Workload& workload) {
    const std::string note = machine.note_on(workload);
    if (!note.empty()) fmt::print(stderr, "note: {}\n", note);
}

std::vector<NamedFile> input_files(const AccelOptions& options, const accel::Accelerator* machine) {
    std::vector<NamedFile> files = {{"--topology", options.topology}, {"--config", options.config}};
    if (names_onnx(options.model)) files.push_back({"--model", options.model.model});
    if (machine == nullptr) return files;
    const std::unique_ptr<accel::Accelerator> copy = machine->clone();
    for (const accel::Parameter& parameter : copy->parameters())
        if (parameter.names_file())
            files.push_back({parameter.key, *std::get<std::string*>(parameter.field)});
    return files;
}

void require_writable_results(const std::vector<std::string>& files, const std::string& out) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const auto plain = [&](const fs::path& folder) {
        return fs::weakly_canonical(folder.empty() ? "." : folder, ignored);
    };
    if (!out.empty()) require_writable_directory(out);
    for (const std::string& file : files) {
        const bool will_be_made =
            !out.empty() && !fs::exists(out, ignored) && plain(fs::path(file).parent_path()) == plain(out);
        if (!will_be_made) require_writable_target(file);
    }
}

}  // namespace enmesh::cli
