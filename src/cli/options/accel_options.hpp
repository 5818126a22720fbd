#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/options/model_options.hpp"
#include "cli/options/named_files.hpp"
#include "enmesh/accel/common/accelerator.hpp"
#include "enmesh/accel/workload/workload.hpp"
#include "enmesh/base/error.hpp"

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

/// The machine of --accel with its defaults; refuses an unknown name.
std::unique_ptr<accel::Accelerator> named_machine(const AccelOptions& options);
/// The same with --config, --set and --dataflow applied.
std::unique_ptr<accel::Accelerator> load_machine(const AccelOptions& options);
/// Refuses `option` where the machine lacks what it asks for; the machine says why.
void require_facility(const accel::Accelerator& machine, accel::Facility facility, const std::string& option);
/// Says on standard error what the machine leaves out of this step.
void print_note(const accel::Accelerator& machine, const accel::Workload& workload);

/// Runs `work`; what it refuses is refused in the name of `option`.
auto in_the_name_of(const std::string& option, const auto& work) {
    try {
        return work();
    } catch (const Error& error) {
        throw Error(error.kind(), option + ": " + error.what());
    }
}

/// The files that the options read, for require_apart; the machine's own among them, if it is given.
std::vector<NamedFile> input_files(const AccelOptions& options, const accel::Accelerator* machine = nullptr);

/// Refuses, before the work, result files that could not be written: "" and "-" are fine. `out` is a folder
/// that the command makes where it is missing, and may hold them.
void require_writable_results(const std::vector<std::string>& files, const std::string& out = "");

}  // namespace enmesh::cli
