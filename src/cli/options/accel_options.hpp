#pragma once

#include <string>
#include <vector>

#include "cli/options/model_options.hpp"
#include "cli/options/named_files.hpp"
#include "enmesh/accel/sat/config.hpp"
#include "enmesh/accel/workload/workload.hpp"

namespace CLI {
class App;
}

namespace enmesh::cli {

/// What simulate, schedule and explore share: where the step comes from, and the machine that runs it.
struct AccelOptions {
    std::string topology;
    ModelRequest model;
    std::string accel = "sat";
    std::string config;
    std::vector<std::string> settings;
    std::string dataflow;
};

void add_workload_options(CLI::App& app, AccelOptions& options);
void add_machine_options(CLI::App& app, AccelOptions& options);

/// Refuses a request that names no step, or two.
accel::Workload load_workload(const AccelOptions& options);
accel::SatConfig load_sat(const AccelOptions& options);

/// The files that the options read, for require_apart; `energy` is the machine's energy table.
std::vector<NamedFile> input_files(const AccelOptions& options, const std::string& energy = "");

/// Refuses, before the work, result files that could not be written: "" and "-" are fine. `out` is a folder
/// that the command makes where it is missing, and may hold them.
void require_writable_results(const std::vector<std::string>& files, const std::string& out = "");

}  // namespace enmesh::cli
