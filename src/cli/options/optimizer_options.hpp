#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "enmesh/train/defaults.hpp"
#include "enmesh/train/schedule.hpp"

namespace CLI {
class App;
}

namespace enmesh::cli {

/// How `train` updates. What was not given stays empty: then a checkpoint that the run goes on from decides,
/// or else training_defaults() of the network.
struct OptimizerRequest {
    std::optional<std::string> optimizer;
    std::optional<double> lr, momentum, weight_decay, clip;
    std::optional<bool> nesterov;
    std::optional<double> warmup;  ///< epochs
    std::string schedule = "cosine";
};

/// --optimizer --lr --momentum --nesterov --weight-decay --clip --schedule --warmup. `request`
/// must outlive the parsing.
void add_optimizer_options(CLI::App& command, OptimizerRequest& request);
/// training_defaults() as lines of a help text.
std::string defaults_text();

/// Refuses what is impossible for any network. Asked before the data are read.
void check_request(const OptimizerRequest& request, int64_t epochs);
/// Fills what was not given from the run whose last checkpoint is `last`, if there is one, so that the same
/// command goes on even if the defaults have changed since.
void take_from_checkpoint(OptimizerRequest& request, const std::filesystem::path& last);

/// Optimizer and clipping for `graph`; all else as StepOptions has it.
StepOptions requested_step(const OptimizerRequest& request, const Graph& graph);
Schedule requested_schedule(const OptimizerRequest& request);

/// "sgd, learning rate 0.1, …; cosine over 10 epochs, the first 2 of them rising": for the header of a run.
std::string training_text(const StepOptions& options, const Schedule& schedule, int64_t epochs);

}  // namespace enmesh::cli
