#include "enmesh/step/step.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"
#include "enmesh/step/memory_plan.hpp"
#include "step/apply_recipe.hpp"
#include "step/differentiate.hpp"

namespace enmesh {
namespace {

/// Builds the WU stage: accumulation, clipping, masks and decay, the optimizer, packing, averages.
class UpdateBuilder {
  public:
    UpdateBuilder(TrainingStep& step, const RecipeRewrite& rewrite)
        : step_(step), graph_(step.graph), rewrite_(rewrite) {}

    void run() {
        const ValueType scalar{Shape{}, DType::f32, {}};
        step_.learning_rate = graph_.add_input("learning_rate", scalar);
        step_.gradient_scale = graph_.add_input("gradient_scale", scalar);
        step_.update_count = graph_.add_input("update_count", scalar);
        if (step_.options.accumulate > 1) accumulate();
        std::vector<ValueId> gradients;
        for (const StepParameter& parameter : step_.parameters)
            gradients.push_back(masked_gradient(parameter));
        scale_ = step_.options.clip_norm > 0 ? clip(gradients) : step_.gradient_scale;
        for (size_t i = 0; i < gradients.size(); ++i) update(step_.parameters[i], gradients[i]);
    }

  private:
    std::string name_of(ValueId id) const { return graph_.value(id).name; }

    void accumulate() {
        for (StepParameter& parameter : step_.parameters) {
            const ValueId sum =
                graph_.add_state(name_of(parameter.weights) + ".gradient", graph_.type(parameter.weights));
            const ValueId next = graph_.add_one(Accumulate{}, {sum, parameter.gradient},
                                                name_of(parameter.weights), Stage::WG);
            step_.carried.emplace_back(next, sum);
            parameter.gradient = next;
        }
    }

    /// Without what a frozen mask discards: it must not count in the norm either.
    ValueId masked_gradient(const StepParameter& parameter) {
        const RecipeRewrite::Packed* const packed = rewrite_.find(parameter.weights);
        if (packed == nullptr || !step_.recipe.wg_masked || !packed->mask.valid()) return parameter.gradient;
        return graph_.add_one(ApplyMask{}, {parameter.gradient, packed->mask}, name_of(parameter.weights),
                              Stage::WU);
    }

    ValueId clip(const std::vector<ValueId>& gradients) {
        std::vector<ValueId> inputs{step_.gradient_scale};
        inputs.insert(inputs.end(), gradients.begin(), gradients.end());
        const auto outputs =
            graph_.add(GradientNorm{step_.options.clip_norm}, std::move(inputs), "clip", Stage::WU);
        step_.gradient_norm = outputs[1];
        return outputs[0];
    }

    ValueId one() {
        if (!one_.valid()) {
            auto tensor = std::make_shared<Tensor>(Shape{});
            tensor->f32()[0] = 1.0F;
            one_ = graph_.add_constant("one", std::move(tensor));
        }
        return one_;
    }

    void update(StepParameter& parameter, ValueId gradient) {
        const std::string layer = name_of(parameter.weights);
        const RecipeRewrite::Packed* const packed = rewrite_.find(parameter.weights);
        ValueId scale = scale_;
        if (packed != nullptr && step_.recipe.sr_decay > 0 && packed->ff.valid()) {
            const SrDecay decay{step_.recipe.sr_decay};
            gradient =
                graph_.add_one(decay, {gradient, parameter.weights, packed->ff, scale}, layer, Stage::WU);
            scale = one();
        }
        const ValueId updated = optimize(parameter.weights, gradient, scale);
        step_.carried.emplace_back(updated, parameter.weights);
        if (packed != nullptr) add_packing(step_, *packed, updated);
        if (step_.options.average_decay > 0) average(parameter, updated);
    }

    ValueId moment(ValueId weights, std::string_view suffix) {
        return graph_.add_state(name_of(weights) + std::string(suffix), graph_.type(weights));
    }

    ValueId optimize(ValueId weights, ValueId gradient, ValueId scale) {
        const bool decayed = graph_.value(weights).decayed || step_.options.decay_all;
        const std::string layer = name_of(weights);
        if (const Sgd* const sgd = std::get_if<Sgd>(&step_.options.optimizer)) {
            const ValueId velocity = moment(weights, ".velocity");
            const SgdUpdate operation{sgd->momentum, decayed ? sgd->weight_decay : 0, sgd->nesterov};
            const auto outputs = graph_.add(
                operation, {weights, gradient, velocity, step_.learning_rate, scale}, layer, Stage::WU);
            step_.carried.emplace_back(outputs[1], velocity);
            return outputs[0];
        }
        const AdamW& adam = std::get<AdamW>(step_.options.optimizer);
        const ValueId first = moment(weights, ".first"), second = moment(weights, ".second");
        const AdamWUpdate operation{adam.beta1, adam.beta2, adam.epsilon, decayed ? adam.weight_decay : 0};
        const auto outputs = graph_.add(
            operation, {weights, gradient, first, second, step_.learning_rate, scale, step_.update_count},
            layer, Stage::WU);
        step_.carried.emplace_back(outputs[1], first);
        step_.carried.emplace_back(outputs[2], second);
        return outputs[0];
    }

    void average(StepParameter& parameter, ValueId updated) {
        const std::string layer = name_of(parameter.weights);
        Initializer same = graph_.value(parameter.weights).initializer;
        parameter.average =
            graph_.add_state(layer + ".average", graph_.type(parameter.weights), std::move(same));
        const ValueId next =
            graph_.add_one(ExponentialAverage{step_.options.average_decay},
                           {parameter.average, updated, step_.update_count}, layer, Stage::WU);
        step_.carried.emplace_back(next, parameter.average);
    }

    TrainingStep& step_;
    Graph& graph_;
    const RecipeRewrite& rewrite_;
    ValueId scale_, one_;
};

void check_forward_graph(const Graph& graph) {
    if (!graph.find("images").valid()) refuse("the graph has no input called 'images'");
    if (graph.outputs.size() != 1)
        refuse("the graph has {} outputs, one (the logits) is expected", graph.outputs.size());
    if (graph.type(graph.outputs[0]).shape.rank() != 2) {
        refuse("the output has shape {}, batch x classes is expected",
               to_string(graph.type(graph.outputs[0]).shape));
    }
}

/// Adds labels (if absent) and the loss; returns the loss.
ValueId add_loss(Graph& graph, double label_smoothing) {
    const ValueId logits = graph.outputs[0];
    ValueId labels = graph.find("labels");
    if (!labels.valid())
        labels = graph.add_input("labels", {Shape{graph.type(logits).shape[0]}, DType::i32, {}});
    const auto outputs = graph.add(CrossEntropy{label_smoothing}, {logits, labels}, "loss");
    graph.outputs.insert(graph.outputs.end(), outputs.begin(), outputs.end());
    return outputs[0];
}

void carry_in_place_results(TrainingStep& step) {
    for (const Node& node : step.graph.nodes()) {
        if (node.stage == Stage::WU || node.operation.is<Accumulate>()) continue;
        for (const auto& [output, input] : in_place(node.operation)) {
            step.carried.emplace_back(node.outputs[static_cast<size_t>(output)],
                                      node.inputs[static_cast<size_t>(input)]);
        }
    }
}

void name_ends(TrainingStep& step) {
    step.images = step.graph.find("images");
    step.labels = step.graph.find("labels");
    step.logits = step.graph.outputs[0];
    if (step.graph.outputs.size() == 3) {
        step.loss = step.graph.outputs[1];
        step.probabilities = step.graph.outputs[2];
    }
}

}  // namespace

double base_learning_rate(const Optimizer& optimizer) {
    return std::visit([](const auto& one) { return one.lr; }, optimizer);
}

TrainingStep build_training_step(const Graph& forward, const Recipe& recipe, const StepOptions& options) {
    check_forward_graph(forward);
    if (options.accumulate < 1) refuse("accumulate is {}, at least 1 is expected", options.accumulate);
    TrainingStep step;
    step.recipe = recipe;
    step.options = options;
    step.decisions = decide_layers(forward, recipe);
    Graph graph = forward;
    const ValueId loss = add_loss(graph, options.label_smoothing);
    const std::vector<ValueId> gradients = differentiate(graph, loss, graph.find("loss_scale"));
    const RecipeRewrite rewrite = apply_recipe(step, graph);
    for (size_t i = 0; i < gradients.size(); ++i) {
        if (!gradients[i].valid()) continue;
        const auto map = [&](int index) { return rewrite.mapped[static_cast<size_t>(index)]; };
        step.parameters.push_back({map(static_cast<int>(i)), map(gradients[i].index), {}});
    }
    if (step.parameters.empty()) refuse("the graph has no parameter to train");
    carry_in_place_results(step);
    UpdateBuilder(step, rewrite).run();
    name_ends(step);
    return step;
}

TrainingStep build_inference_step(const Graph& forward, const Recipe& recipe, double label_smoothing) {
    check_forward_graph(forward);
    TrainingStep step;
    step.recipe = recipe;
    step.recipe.pre_generate = true;
    step.options.label_smoothing = label_smoothing;
    step.decisions = decide_layers(forward, recipe);
    Graph graph = inference_graph(forward);
    add_loss(graph, label_smoothing);
    const RecipeRewrite rewrite = apply_recipe(step, graph);
    for (const RecipeRewrite::Packed& packed : rewrite.packed) add_packing(step, packed, packed.weights);
    for (size_t i = 0; i < step.graph.values().size(); ++i) {
        if (step.graph.values()[i].role == Role::parameter)
            step.parameters.push_back({ValueId{static_cast<int>(i)}, {}, {}});
    }
    name_ends(step);
    return step;
}

StageCount count_products(const TrainingStep& step, Stage stage) {
    StageCount total;
    for (const Node& node : step.graph.nodes()) {
        if (node.stage != stage || !is_product(node.operation)) continue;
        std::vector<ValueType> inputs, outputs;
        for (const ValueId id : node.inputs) inputs.push_back(step.graph.type(id));
        for (const ValueId id : node.outputs) outputs.push_back(step.graph.type(id));
        const OperationCount counted = count(node.operation, inputs, outputs);
        total.multiply_adds += counted.multiply_adds;
        total.sparse_multiply_adds += counted.sparse_multiply_adds;
    }
    return total;
}

int64_t peak_bytes(const TrainingStep& step) {
    const Graph& graph = step.graph;
    std::vector<bool> carried(graph.values().size(), false);
    for (const auto& [result, state] : step.carried) carried[static_cast<size_t>(result.index)] = true;
    std::vector<Lifetime> lifetimes;
    int64_t resident = 0;
    const auto consumers = graph.consumers();
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        if (value.role != Role::result) {
            resident += value.type.bytes();
        } else if (!carried[i]) {
            int last = value.producer;
            for (const int consumer : consumers[i]) last = std::max(last, consumer);
            lifetimes.push_back({value.type.bytes(), value.producer, last});
        }
    }
    return resident + plan_memory(lifetimes).bytes;
}

std::string print(const TrainingStep& step) {
    std::string text;
    for (const Value& value : step.graph.values()) {
        if (value.role == Role::result) continue;
        text += fmt::format("{:<10}{}: {}\n", to_string(value.role), value.name, to_string(value.type));
    }
    text += "\n" + print(step.graph);
    for (const LayerDecision& decision : step.decisions) {
        if (!decision.reason.empty()) {
            text += fmt::format("left dense: {} {}: {}\n", decision.layer, to_string(decision.stage),
                                decision.reason);
        }
    }
    return text;
}

}  // namespace enmesh
