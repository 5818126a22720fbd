#include "cli/options/accel_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/options/run_options.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/accel/report/energy.hpp"
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
    app.add_option("--accel", options.accel,
                   "sat (N:M training accelerator), systolic (dense array, SCALE-Sim convention), or "
                   "stc-a100, stc-h100, stc-h200 "
                   "(GPUs with Sparse Tensor Cores)")
        ->capture_default_str();
    app.add_option("--config", options.config, "TOML file of machine parameters (see --print-config)");
    app.add_option("--set", options.settings, "key=value, over the file; may be repeated")
        ->allow_extra_args(false)
        ->take_all();
    app.add_option("--dataflow", options.dataflow,
                   "ws, os, is (systolic only) or auto, the fastest for each product");
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

accel::SatConfig load_sat(const AccelOptions& options) {
    accel::SatConfig config = accel::load_sat_config(options.config, options.settings);
    if (options.dataflow.empty()) return config;
    if (options.dataflow == "is")
        refuse("--dataflow is: SAT runs ws, os or auto; is belongs to --accel systolic");
    const std::vector<std::string> known = {"ws", "os", "auto"};
    if (std::find(known.begin(), known.end(), options.dataflow) == known.end())
        refuse("--dataflow {}: is none of ws, os and auto{}", options.dataflow,
               suggestion(options.dataflow, known));
    config.dataflow = options.dataflow;
    return config;
}

std::vector<NamedFile> input_files(const AccelOptions& options, const std::string& energy) {
    std::vector<NamedFile> files = {{"--topology", options.topology}, {"--config", options.config}};
    if (names_onnx(options.model)) files.push_back({"--model", options.model.model});
    if (accel::built_in_energy(energy).empty()) files.push_back({"energy.table", energy});
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
