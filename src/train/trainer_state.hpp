#pragma once

#include <memory>
#include <optional>
#include <string>

#include "enmesh/train/trainer.hpp"
#include "train/describe.hpp"

namespace enmesh {

struct TrainerState {
    Graph graph;
    Recipe recipe;
    StepOptions step_options;
    TrainerOptions options;
    TrainingStep step;
    std::string plan{};
    bool plan_changed = false;  ///< resumed with other kernels than the checkpoint's
    std::unique_ptr<Executor> running{};
    std::unique_ptr<Executor> inference{};
    std::optional<std::filesystem::path> init_file{};
    LoadOptions init_options{};
    std::vector<std::string> notes{};  ///< of the file that the first weights came from
    Progress progress{};
    Json training = Json::object();  ///< what the last fit() was asked for

    std::optional<SimulatedCost> cost{};

    /// Asked of the backend once per step.
    const std::optional<SimulatedCost>& simulated_cost() {
        if (!cost.has_value() && options.backend.cost) cost = options.backend.cost(step);
        return cost;
    }
    int64_t batch() const { return step.graph.type(step.images).shape[0]; }
    void rebatch(int64_t batch);
    /// The executor, made when first needed, with the weights of the start of a run.
    Executor& executor();
    /// The executor as the checkpoint left it.
    void resume_from(const std::filesystem::path& file, const CheckpointInfo& info);
    /// What the running executor computes with. Evaluation uses it too, so that a resumed run measures the
    /// same.
    std::string plan_text() const;
    Metadata metadata() const;
    void save(const std::filesystem::path& path) const { save_checkpoint(path, *running, metadata()); }
    Evaluation evaluate(const data::Dataset& dataset, const data::Images& split, int loader_threads);
};

FitReport fit(TrainerState& state, const data::Dataset& dataset, const FitOptions& options);

}  // namespace enmesh
