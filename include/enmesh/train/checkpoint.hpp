#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/tensor/safetensors.hpp"
#include "enmesh/train/loss_watch.hpp"
#include "enmesh/train/schedule.hpp"

namespace enmesh {

// A checkpoint is one safetensors file. Its tensors are the parameters (dense masters) and the dense states
// (running statistics, momentum, masks, averages) by their names in the step; packed weights are renewed from
// them. Its metadata, all text that depends on the run alone:
//   enmesh.format    "1"
//   enmesh.model     JSON object of strings, as the builder of the graph described it
//   enmesh.recipe    JSON object: the table row, its pattern and its overrides
//   enmesh.training  JSON object: optimizer, schedule, batch, seed, augmentation, data (by content)
//   enmesh.progress  JSON object: see Progress
//   enmesh.plan      the executor's kernel plan

/// How far a run has come.
struct Progress {
    int64_t epoch = 0;    ///< epochs finished
    int64_t batches = 0;  ///< micro-batches finished of the epoch that runs
    int64_t update = 0;   ///< updates made in all
    double loss_sum = 0;  ///< of the losses of `batches`
    double best_accuracy = -1;
    int64_t best_epoch = 0;
    double loss_scale = 0;        ///< 0: the loss is not scaled
    int64_t good_updates = 0;     ///< since the scale last changed
    int64_t skipped_updates = 0;  ///< of `update`, those that an overflow undid
    LossWatch loss_watch{};

    friend bool operator==(const Progress&, const Progress&) = default;
};

/// How a model was built, in its builder's own words: {"model", "resnet9"}, {"width", "0.5"}, …
using ModelDescription = std::map<std::string, std::string>;

/// What a checkpoint says of itself. A safetensors file from elsewhere has an empty `model`, a dense recipe
/// and no progress.
struct CheckpointInfo {
    ModelDescription model;
    Recipe recipe;
    Progress progress;
    std::string plan;
    bool is_checkpoint = false;
};
/// Refuses a format that this version does not know and metadata that contradict themselves.
CheckpointInfo read_checkpoint_info(const SafetensorsReader& file, const std::filesystem::path& path);

/// The metadata of weights to start from: a checkpoint of this model and recipe before the first step.
Metadata first_metadata(const ModelDescription& model, const Recipe& recipe);

/// Parameters and the states that are not renewed by packing or by the next micro-batch.
std::vector<ValueId> checkpoint_values(const TrainingStep& step);

/// The first value of a checkpoint that holds NaN or an infinity, by name; "" if there is none.
std::string first_non_finite_value(const Executor& executor);

/// Writes the file whole or not at all. A parameter that is not finite is a failure: such a file would be no
/// place to go on from.
void save_checkpoint(const std::filesystem::path& path, const Executor& executor, const Metadata& metadata);

/// Parameters and states of a graph with the values that `weights` gives, whole or not at all.
void save_weights(const std::filesystem::path& path, const Graph& graph,
                  const std::function<Tensor(const Value&)>& weights, const Metadata& metadata);

/// Every value of checkpoint_values() from the file, then packing. Refuses a file that lacks one, has one of
/// another shape or has others, in one line.
void load_checkpoint(const std::filesystem::path& path, Executor& executor);

/// Refused by load_weights: tensors of the file do not fit the network. A layer may start afresh instead
/// (LoadOptions::fresh).
class WeightsDiffer : public Error {
  public:
    using Error::Error;
};

struct LoadOptions {
    bool averages = true;  ///< the averages of parameters instead, where the file has them
    /// Layers (with * and ?) whose weights stay as they are, whatever the file has: a classifier for other
    /// classes.
    std::vector<std::string> fresh{};
};

/// Weights to start from or to evaluate, of whatever StateDict reads: parameters, and those states of the
/// executor that the file holds too; masks that it does not hold are chosen anew. F16, BF16 and F64 become
/// float32. Refuses a file of another model, saying what differs, and a packed one. Returns what a user
/// should know, a line each.
std::vector<std::string> load_weights(const std::filesystem::path& path, Executor& executor,
                                      const LoadOptions& options = {});

/// Parameters, running statistics and masks from one executor to another, by name, then packing. Averages
/// take the place of the parameters where `from` keeps them.
void copy_weights(const Executor& from, Executor& to);

}  // namespace enmesh
