#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "enmesh/data/augment.hpp"
#include "enmesh/data/dataset.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/step/step.hpp"
#include "enmesh/train/backend.hpp"
#include "enmesh/train/checkpoint.hpp"
#include "enmesh/train/defaults.hpp"
#include "enmesh/train/evaluate.hpp"
#include "enmesh/train/loss_watch.hpp"
#include "enmesh/train/schedule.hpp"

namespace enmesh {

struct TrainerState;

struct TrainerOptions {
    uint64_t seed = 0;
    Backend backend = cpu_backend();
    ModelDescription model{};  ///< kept in checkpoints, so that they say how to build the graph again
};

/// What the simulated machine has taken and used for training since the start of the run, evaluation left
/// out.
struct Simulated {
    double seconds = 0, joules = 0;
    double loss_scale = 1;
    int64_t skipped_updates = 0;
};

/// After each update.
struct StepReport {
    int64_t epoch = 1;  ///< the one that runs, from 1
    int64_t epochs = 1;
    int64_t update = 0;           ///< updates made in all
    int64_t update_in_epoch = 0;  ///< updates made in this epoch
    int64_t updates_per_epoch = 1;
    double loss = 0;       ///< mean of the epoch so far
    double last_loss = 0;  ///< of this update alone
    double learning_rate = 0;
    double images_per_second = 0;  ///< of the epoch so far
    std::optional<Simulated> simulated{};
    /// At the one update at which the loss has risen above that of the first steps: see LossWatch.
    std::optional<LossWatch> loss_rose{};
};

/// After each epoch: a line of metrics.jsonl.
struct EpochReport {
    int64_t epoch = 0;
    int64_t step = 0;       ///< updates made in all
    double train_loss = 0;  ///< mean over the epoch's batches
    double test_loss = 0;
    double test_accuracy = 0;
    double learning_rate = 0;  ///< of the epoch's last update
    double seconds = 0;  ///< training and evaluation (since the last start, in an epoch that was resumed)
    double images_per_second = 0;  ///< training alone
    std::optional<Simulated> simulated{};
    int64_t loss_rose_at = 0;  ///< the update at which the loss had risen, see LossWatch; 0: it has not
};

struct FitOptions {
    int64_t epochs = 10;
    int64_t batch = 0;  ///< images per micro-batch; 0: the graph's
    Schedule schedule{};
    data::Augmentation augmentation{};
    int loader_threads = 1;
    /// Where metrics.jsonl, last.safetensors, best.safetensors, summary.json and TensorBoard events go;
    /// empty: nothing is written. Refused while another process trains into it.
    std::filesystem::path out{};
    bool resume = false;           ///< go on from out/last.safetensors where there is one
    int64_t checkpoint_every = 0;  ///< updates between checkpoints within an epoch; 0: only after epochs
    /// Once everything has been checked and the weights are there, before anything is written.
    std::function<void(const Progress&)> on_start{};
    std::function<void(const std::string&)> on_note{};  ///< what else a user should know, a line each
    std::function<void(const StepReport&)> on_step{};
    std::function<void(const EpochReport&)> on_epoch{};
    std::function<bool()> stop{};  ///< asked after each update: true writes a checkpoint and returns
};

/// Every file that fit() writes where `out` is FitOptions::out.
std::vector<std::filesystem::path> run_files(const std::filesystem::path& out);

struct FitReport {
    std::vector<EpochReport> epochs;  ///< of this call
    Progress progress;
    bool interrupted = false;  ///< `stop` said so
};

/// Trains a graph under a recipe.
///
///     auto trainer = Trainer(graph, make_recipe("bdwp", Pattern{2, 8}), {.optimizer = Sgd{.lr = 0.1}});
///     trainer.fit(data::digits(), {.epochs = 10});
///
/// Equal graphs, options, data and thread counts give equal bits, interrupted and resumed or not.
class Trainer {
  public:
    Trainer(Graph graph, Recipe recipe, StepOptions options, TrainerOptions trainer = {});
    /// With default_step_options(graph).
    Trainer(Graph graph, Recipe recipe);
    ~Trainer();
    Trainer(Trainer&&) noexcept;
    Trainer& operator=(Trainer&&) noexcept;

    /// The first weights from a file instead of from the seed: see load_weights.
    void init_from(const std::filesystem::path& file, const LoadOptions& options = {});

    /// Trains to the end of epoch `epochs`; a second call goes on from the first. Refuses what cannot work
    /// (images of another size, a batch larger than the set, a folder that cannot be written, a checkpoint of
    /// another run) before anything is written. A loss that is not finite is a failure that names the step
    /// and the place.
    FitReport fit(const data::Dataset& dataset, const FitOptions& options);
    /// A parameter, running statistic or state by its name, as it stands: "conv1.weight".
    Tensor read(std::string_view name) const;
    /// The outputs (n, classes) for images (n, c, h, w) that are normalised as the training images were; on
    /// running statistics and, where there are, on averaged weights.
    Tensor predict(const Tensor& images);

    /// On running statistics, averaged weights where they are kept.
    Evaluation evaluate(const data::Dataset& dataset, const data::Images& split);

    const TrainingStep& step() const;
    /// The forward graph with the weights as they are now as its initial values.
    Graph model() const;
    /// What the backend's simulated machine takes for this step; nothing if it stands for none.
    std::optional<SimulatedCost> simulated_cost();
    /// Which kernels serve: the backend's text, the one that checkpoints carry.
    std::string plan() const;
    /// Whether a resumed run's kernels differ from those of its checkpoint, which this machine does not have.
    bool plan_changed() const;
    /// The whole checkpoint.
    void save(const std::filesystem::path& path) const;
    const Executor& executor() const;

  private:
    std::unique_ptr<TrainerState> state_;
};

}  // namespace enmesh
