#include "enmesh/train/trainer.hpp"

#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/with_batch.hpp"
#include "train/trainer_state.hpp"

namespace enmesh {
namespace {

/// Where products read binary16, the gradient of the loss is multiplied by an input.
TrainingStep build_step(const Graph& graph, const Recipe& recipe, const StepOptions& options,
                        const Backend& backend) {
    if (!backend.half_operands) return build_training_step(graph, recipe, options);
    Graph scaled = graph;
    scaled.add_input("loss_scale", {Shape{}, DType::f32, {}});
    return build_training_step(scaled, recipe, options);
}

}  // namespace

void TrainerState::rebatch(int64_t wanted) {
    if (wanted == batch()) return;
    if (running != nullptr)
        refuse("the batch is {} since training began; it cannot become {}", batch(), wanted);
    graph = with_batch(graph, wanted);
    step = build_step(graph, recipe, step_options, options.backend);
    cost.reset();
}

Executor& TrainerState::executor() {
    if (running != nullptr) return *running;
    running = options.backend.make(step, plan);
    initialize(*running, options.seed);
    if (init_file.has_value()) notes = load_weights(*init_file, *running, init_options);
    return *running;
}

void TrainerState::resume_from(const std::filesystem::path& file, const CheckpointInfo& info) {
    if (running == nullptr) {
        plan = info.plan;
        running = options.backend.make(step, plan);
        plan_changed = options.backend.plan && !plan.empty() && plan_text() != plan;
    }
    load_checkpoint(file, *running);
    progress = info.progress;
}

std::string TrainerState::plan_text() const {
    return options.backend.plan ? options.backend.plan(*running) : plan;
}

Metadata TrainerState::metadata() const {
    return {{"enmesh.format", "1"},
            {"enmesh.model", Json(options.model).dump()},
            {"enmesh.recipe", describe(recipe).dump()},
            {"enmesh.training", training.dump()},
            {"enmesh.progress", describe(progress).dump()},
            {"enmesh.plan", plan_text()}};
}

Evaluation TrainerState::evaluate(const data::Dataset& dataset, const data::Images& split,
                                  int loader_threads) {
    const Executor& trained = executor();
    if (inference == nullptr)
        inference = options.backend.make(build_inference_step(graph, recipe), plan_text());
    copy_weights(trained, *inference);
    return enmesh::evaluate(*inference, dataset, split, loader_threads);
}

Trainer::Trainer(Graph graph, Recipe recipe, StepOptions options, TrainerOptions trainer) {
    TrainingStep step = build_step(graph, recipe, options, trainer.backend);
    state_.reset(new TrainerState{.graph = std::move(graph),
                                  .recipe = std::move(recipe),
                                  .step_options = std::move(options),
                                  .options = std::move(trainer),
                                  .step = std::move(step)});
}
Trainer::Trainer(Graph graph, Recipe recipe)
    : Trainer(graph, std::move(recipe), default_step_options(graph)) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

void Trainer::init_from(const std::filesystem::path& file, const LoadOptions& options) {
    state_->init_file = file;
    state_->init_options = options;
    if (state_->running != nullptr) state_->notes = load_weights(file, *state_->running, options);
}

FitReport Trainer::fit(const data::Dataset& dataset, const FitOptions& options) {
    return enmesh::fit(*state_, dataset, options);
}

Evaluation Trainer::evaluate(const data::Dataset& dataset, const data::Images& split) {
    return state_->evaluate(dataset, split, 1);
}

const TrainingStep& Trainer::step() const { return state_->step; }

Graph Trainer::model() const {
    const Executor& trained = state_->executor();
    const Graph& running = trained.step().graph;
    Graph model = state_->graph;
    for (size_t i = 0; i < model.values().size(); ++i) {
        Value& value = model.value(ValueId{static_cast<int>(i)});
        if (value.role != Role::parameter && value.role != Role::state) continue;
        ValueId source = running.find(value.name);
        if (const ValueId average = running.find(value.name + ".average"); average.valid()) source = average;
        if (!source.valid()) continue;  // a parameter that nothing uses
        value.initializer = {.kind = Initializer::Kind::given,
                             .given = std::make_shared<const Tensor>(trained.read(source))};
    }
    return model;
}

void Trainer::save(const std::filesystem::path& path) const {
    state_->executor();
    state_->save(path);
}

std::optional<SimulatedCost> Trainer::simulated_cost() { return state_->simulated_cost(); }

bool Trainer::plan_changed() const { return state_->plan_changed; }

std::string Trainer::plan() const {
    state_->executor();
    return state_->plan_text();
}

const Executor& Trainer::executor() const { return state_->executor(); }

}  // namespace enmesh
